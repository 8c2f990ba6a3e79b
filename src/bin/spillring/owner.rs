//! Explains permission errors: who owns the spill, and what to do.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use spillring::error::SpillError;

use crate::console::Problem;

/// Why a spill cannot be read. A spill directory is private to the user whose publisher created it.
pub(crate) fn problem(error: &SpillError) -> Problem {
    let SpillError::Io {
        action,
        path,
        source,
    } = error
    else {
        return Problem::new(error);
    };
    if source.kind() != ErrorKind::PermissionDenied {
        return Problem::new(error);
    }
    let Some((barred, metadata)) = nearest(path) else {
        return Problem::new(error);
    };
    let (owner, me) = (metadata.uid(), geteuid().as_raw());
    let barred = barred.display();
    let remedy = if owner == me {
        format!("{barred} belongs to this user: check its permissions")
    } else {
        format!(
            "{barred} belongs to {}, and this is {}: run it as that user, with `sudo -u {}`",
            named(owner),
            named(me),
            for_sudo(owner)
        )
    };
    Problem::new(format_args!(
        "cannot {action} {}: {source}; {remedy}",
        path.display()
    ))
}

/// The innermost part of the path that this user may stat: it denies access to the rest.
fn nearest(path: &Path) -> Option<(PathBuf, Metadata)> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors()
        .find_map(|it| Some((it.to_owned(), fs::metadata(it).ok()?)))
}

fn name(user: u32) -> Option<String> {
    let user = uzers::get_user_by_uid(user)?;
    Some(user.name().to_string_lossy().into_owned())
}

/// For example `user agent (998)`.
fn named(user: u32) -> String {
    name(user).map_or_else(
        || format!("user {user}"),
        |name| format!("user {name} ({user})"),
    )
}

fn for_sudo(user: u32) -> String {
    name(user).unwrap_or_else(|| format!("'#{user}'"))
}
