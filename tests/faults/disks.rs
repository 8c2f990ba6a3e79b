//! Real small disks: file systems of their own, mounted where only the child sees them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::{Loaded, in_child};
use test_support::skipped::skipped;

/// In the child: where the disk is mounted.
const DISK: &str = "SPILLRING_FAULTS_DISK";

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tmpfs,
    Ext4,
}

impl Kind {
    /// The start of a shell script that mounts it at `$DISK`. Its image, if it has one, goes with the last mount.
    fn mount(self) -> String {
        match self {
            Self::Tmpfs => format!("mount -t tmpfs -o size=96m,nr_inodes=300 tmpfs \"${DISK}\""),
            Self::Ext4 => format!(
                "truncate -s 96M \"${DISK}.img\" && \
                 mkfs.ext4 -q -F -N 300 -m 0 \"${DISK}.img\" && \
                 mount -t ext4 -o loop \"${DISK}.img\" \"${DISK}\""
            ),
        }
    }

    /// What is put before the script: a namespace of its own. Only the real root may mount images.
    fn namespace(self) -> &'static [&'static str] {
        match self {
            Self::Tmpfs => &["--user", "--map-root-user", "--mount"],
            Self::Ext4 => &["--mount"],
        }
    }

    fn command(self, script: &str, disk: &Path) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(self.namespace())
            .args(["sh", "-c", script, "sh"])
            .env(DISK, disk);
        command
    }
}

/// Runs the story in a child that has such a disk. Where none can be mounted, the test is skipped.
pub(crate) fn with_disk<T: Fn()>(test: T, kind: Kind, story: impl FnOnce(&Path)) {
    let own = std::env::var_os(DISK).map(PathBuf::from);
    let home = tempfile::tempdir().unwrap();
    let disk = home.path().join("disk");
    if own.is_none() {
        std::fs::create_dir(&disk).unwrap();
        let tried = kind.command(&kind.mount(), &disk).output();
        if !tried.is_ok_and(|tried| tried.status.success()) {
            skipped(&format!("no {kind:?} can be mounted here"));
            return;
        }
    }
    let wrap = |child: Command| {
        let script = format!("{} && exec \"$@\"", kind.mount());
        let mut command = kind.command(&script, &disk);
        command.arg(child.get_program()).args(child.get_args());
        command
    };
    in_child(test, Loaded::Nothing, wrap, || story(&own.unwrap()));
}

/// Somebody else's files take all inodes.
pub(crate) fn fill_inodes(disk: &Path) {
    let folder = disk.join("fillers");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0.. {
        if File::create(folder.join(number.to_string())).is_err() {
            return;
        }
    }
}

pub(crate) fn empty_inodes(disk: &Path) {
    std::fs::remove_dir_all(disk.join("fillers")).unwrap();
}
