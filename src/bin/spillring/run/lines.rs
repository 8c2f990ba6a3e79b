//! Reads lines from a file or standard input. Their length is bounded, and a signal interrupts the wait for input.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::tail::{FilePosition, OpenedFile, Tail, Turn};
use crate::console::Problem;
use crate::signals::Signals;

/// Longer lines are rejected, unless an entry may be longer.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Some editors write it before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes per read.
const READ_BYTES: usize = 64 << 10;

/// The longest wait for input between two checks for signals.
const POLL_MAX: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The input, split into lines.
#[derive(Debug)]
pub(super) struct InputLines {
    input: File,
    line_max: usize,
    /// Input from `start` on is not yet returned; there is no line feed from `start` to `searched`.
    buffer: Vec<u8>,
    start: usize,
    searched: usize,
    number: u64,
    rest: AfterBuffer,
    /// The offset of the buffer's end in the file.
    read_to: u64,
    /// The offset of the beginning of an overlong line.
    overlong_from: u64,
    /// Whether reading began at the requested position.
    found: bool,
    /// With `--follow`.
    tail: Option<Tail>,
}

/// What follows the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterBuffer {
    More,
    /// The current line is too long: it is skipped up to its end.
    Overlong,
    Nothing,
}

/// The next line, or why there is none.
#[derive(Debug)]
pub(super) enum Next<'a> {
    Line(&'a [u8]),
    /// A line longer than this many bytes.
    TooLong(usize),
    /// A followed file has not grown.
    Nothing,
    End,
    /// A signal came: no more lines.
    Asked,
    Failed(io::Error),
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BufferFill {
    Something,
    Nothing,
}

enum Cut {
    Line(Range<usize>),
    TooLong,
}

impl InputLines {
    /// Opens the file, or standard input. Lines longer than both `line_max` and [`LINE_BYTES_MAX`] are rejected.
    pub(super) fn open(path: Option<&Path>, line_max: usize) -> Result<Self, Problem> {
        let (opened, name) = match path {
            Some(path) => (open(path), path.display().to_string()),
            None => (standard_input(), "standard input".to_owned()),
        };
        let input = opened.map_err(|error| {
            Problem::new(format_args!(
                "the input {name} cannot be read: {error}; give a file of entries with `--input FILE`, or - for \
                 standard input"
            ))
        })?;
        Ok(Self::of(input, line_max))
    }

    /// Opens a file that may grow, at this position.
    pub(super) fn follow(
        path: &Path,
        position: Option<FilePosition>,
        line_max: usize,
    ) -> Result<Self, Problem> {
        let opened = Tail::open(path, position).map_err(|error| {
            Problem::new(format_args!(
                "{} cannot be followed: {error}",
                path.display()
            ))
        })?;
        let OpenedFile {
            tail,
            file,
            offset,
            found,
        } = opened;
        Ok(Self {
            read_to: offset,
            found,
            tail: Some(tail),
            ..Self::of(file, line_max)
        })
    }

    fn of(input: File, line_max: usize) -> Self {
        Self {
            input,
            line_max: line_max.max(LINE_BYTES_MAX),
            buffer: Vec::with_capacity(2 * READ_BYTES),
            start: 0,
            searched: 0,
            number: 0,
            rest: AfterBuffer::More,
            read_to: 0,
            overlong_from: 0,
            found: false,
            tail: None,
        }
    }

    /// The beginning of the next line, with `--follow`.
    pub(super) fn position(&self) -> Option<FilePosition> {
        Some(self.tail.as_ref()?.position(self.offset()))
    }

    /// The same with its checksum, so that [`follow`](Self::follow) finds it again.
    pub(super) fn mark(&self) -> Option<FilePosition> {
        self.marked(self.position()?)
    }

    /// Adds the checksum to a position; none if it is in another file.
    pub(super) fn marked(&self, position: FilePosition) -> Option<FilePosition> {
        self.tail.as_ref()?.mark(&self.input, position)
    }

    fn offset(&self) -> u64 {
        if self.rest == AfterBuffer::Overlong {
            return self.overlong_from;
        }
        let unread = (self.buffer.len() - self.start) as u64;
        self.read_to.saturating_sub(unread)
    }

    /// Whether [`follow`](Self::follow) found the requested position.
    pub(super) fn found(&self) -> bool {
        self.found
    }

    /// Whether this file is the input.
    pub(super) fn come_from(&self, path: &Path) -> bool {
        let identity = |file: Metadata| (file.dev(), file.ino());
        let input = self.input.metadata().map(identity);
        input.is_ok_and(|input| fs::metadata(path).is_ok_and(|it| identity(it) == input))
    }

    /// The number of the line returned last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line. After a signal there is none, even if the buffer has some.
    pub(super) fn next(&mut self, signals: &Signals) -> Next<'_> {
        loop {
            if self.at_end() {
                return Next::End;
            }
            if signals.asked() {
                return Next::Asked;
            }
            match self.cut() {
                Some(Cut::Line(line)) => return Next::Line(&self.buffer[line]),
                Some(Cut::TooLong) => return Next::TooLong(self.line_max),
                None => {}
            }
            match self.fill() {
                Err(error) => return Next::Failed(error),
                Ok(BufferFill::Nothing) if self.tail.is_some() => return Next::Nothing,
                Ok(_) => {}
            }
        }
    }

    fn at_end(&self) -> bool {
        self.rest == AfterBuffer::Nothing && self.start == self.buffer.len()
    }

    /// The next whole line of the buffer.
    fn cut(&mut self) -> Option<Cut> {
        let fresh = &self.buffer[self.searched..];
        let (line, next) = match fresh.iter().position(|&byte| byte == b'\n') {
            Some(at) => {
                let end = self.searched + at;
                (self.start..end, end + 1)
            }
            None if self.rest == AfterBuffer::Nothing && self.start < self.buffer.len() => {
                (self.start..self.buffer.len(), self.buffer.len())
            }
            None => {
                self.searched = self.buffer.len();
                if self.rest != AfterBuffer::Overlong && self.searched - self.start > self.line_max
                {
                    self.overlong_from = self.offset();
                    self.rest = AfterBuffer::Overlong;
                }
                if self.rest == AfterBuffer::Overlong {
                    self.start = self.searched;
                }
                return None;
            }
        };
        let marked = self.number == 0 && self.buffer[line.clone()].starts_with(BYTE_ORDER_MARK);
        let line = if marked {
            line.start + BYTE_ORDER_MARK.len()..line.end
        } else {
            line
        };
        (self.start, self.searched) = (next, next);
        self.number += 1;
        let overlong = self.rest == AfterBuffer::Overlong;
        if overlong {
            self.rest = AfterBuffer::More;
        }
        Some(if overlong || line.len() > self.line_max {
            Cut::TooLong
        } else {
            Cut::Line(line)
        })
    }

    /// Reads once, or times out.
    fn fill(&mut self) -> io::Result<BufferFill> {
        let mut input = [PollFd::new(&self.input, PollFlags::IN)];
        match poll(&mut input, Some(&POLL_MAX)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(BufferFill::Nothing),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let read = self.input.read(&mut self.buffer[filled..]);
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return self.turn(),
            Err(error)
                if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&error.kind()) =>
            {
                return Ok(BufferFill::Nothing);
            }
            Err(error) => return Err(error),
            Ok(read) => {
                self.read_to += read as u64;
                if let Some(tail) = &mut self.tail {
                    tail.has_grown();
                }
            }
        }
        Ok(BufferFill::Something)
    }

    /// Called at the end of the file.
    fn turn(&mut self) -> io::Result<BufferFill> {
        let Some(tail) = &mut self.tail else {
            self.end();
            return Ok(BufferFill::Something);
        };
        match tail.turn(&self.input, self.read_to)? {
            Turn::Wait => return Ok(BufferFill::Nothing),
            Turn::Again(file) | Turn::Next(file) => {
                // Ends an unfinished line.
                let unfinished =
                    self.start < self.buffer.len() || self.rest == AfterBuffer::Overlong;
                if unfinished {
                    self.buffer.push(b'\n');
                }
                self.input = file;
                (self.read_to, self.overlong_from) = (0, 0);
            }
        }
        Ok(BufferFill::Something)
    }

    /// The end of the input. An overlong line without a line feed counts as a line.
    fn end(&mut self) {
        if self.rest == AfterBuffer::Overlong {
            self.buffer.push(b'\n');
        } else {
            self.rest = AfterBuffer::Nothing;
        }
    }
}

/// Opens without blocking: a named pipe need not have a writer yet.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let non_blocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(non_blocking)
        .open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a directory"));
    }
    Ok(file)
}

fn standard_input() -> io::Result<File> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}
