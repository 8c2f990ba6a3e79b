//! `spillring dead-letters`: entries that the sink rejected, for the operator to inspect, requeue or remove.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Subcommand;
use indicatif::HumanBytes;
use serde::Serialize;
use spillring::error::SpillError;
use spillring::event::Position;
use spillring::operate::{DeadLetter, DeadLetters, Selection};

use crate::console::{Exit, Problem, show, show_bytes};
use crate::owner;
use crate::spill_key::KeyArgs;
use crate::status::{age, since};
use crate::verify::counted;
use crate::verify::trail::position_of;

/// Dead letters listed per write.
const PAGE: usize = 256;

/// List, show, requeue or remove the dead letters of a spill directory
///
/// A dead letter is an entry that was too large, or that the sink refused for good: it is kept in the spill, and the
/// stream announces its number as lost. An ID is that number, `<run>.<n>`. No publisher may be running in the
/// directory.
///
/// Exit code: 0 done; 2 bad usage, or it cannot be done.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that was given as `--spill`
    dir: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them in the order of their numbers
    List {
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one with its bytes
    Show {
        /// ID of the dead letter
        #[arg(value_parser = position)]
        id: Position,
        /// The bytes of the entry alone, as they are
        #[arg(long)]
        raw: bool,
    },
    /// Put them back into the backlog, from which the next run delivers them
    ///
    /// They get new numbers, and the stream also records the old ones. First fix the cause, such as `entry_bytes_max`
    /// or the limits of the stream: an entry that is refused again becomes a dead letter again.
    Requeue(Which),
    /// Delete them for good
    Remove(Which),
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// IDs of dead letters; if one does not exist, nothing is done
    #[arg(value_parser = position, value_name = "ID")]
    ids: Vec<Position>,
    /// All dead letters
    #[arg(long)]
    all: bool,
}

/// A dead letter, as `--json` writes it.
#[derive(Serialize)]
struct Listed<'a> {
    id: String,
    reason: &'a str,
    detail: &'a str,
    given_up_ms: u64,
    popped_ms: u64,
    requeued_from: Option<String>,
    subject: &'a str,
    bytes: u64,
}

pub(crate) fn main(args: &Args) -> Result<Exit, Problem> {
    let letters = DeadLetters::open_with_key(&args.dir, args.key.key()?).map_err(problem)?;
    match &args.action {
        Action::List { json } => list(&letters, *json)?,
        Action::Show { id, raw } => one(&letters, *id, *raw)?,
        Action::Requeue(which) => {
            let report = |old, new| show(&format!("requeued {old} as {new}\n"));
            let count = letters
                .requeue(&which.selection(), report)
                .map_err(problem)?;
            let letters = counted(count, "dead letter");
            show(&format!(
                "{letters} requeued: the next run delivers what was requeued\n"
            ));
        }
        Action::Remove(which) => {
            let report = |id| show(&format!("removed {id}\n"));
            let count = letters
                .remove(&which.selection(), report)
                .map_err(problem)?;
            show(&format!("{} removed\n", counted(count, "dead letter")));
        }
    }
    Ok(Exit::Done)
}

fn list(letters: &DeadLetters, json: bool) -> Result<(), Problem> {
    let (mut text, mut count) = (String::new(), 0);
    for letter in letters.iter() {
        let letter = letter.map_err(problem)?;
        count += 1;
        if json {
            let line = serde_json::to_string(&Listed::of(&letter)).map_err(Problem::new)?;
            text += &(line + "\n");
        } else {
            text += &in_a_line(&letter);
        }
        if count % PAGE == 0 {
            show(&std::mem::take(&mut text));
        }
    }
    if !json {
        text += &(counted(count as u64, "dead letter") + "\n");
    }
    show(&text);
    Ok(())
}

fn one(letters: &DeadLetters, id: Position, raw: bool) -> Result<(), Problem> {
    let found = letters.get(id).map_err(problem)?;
    let (letter, bytes) =
        found.ok_or_else(|| problem(SpillError::NoSuchDeadLetters { ids: vec![id] }))?;
    if raw {
        show_bytes(&bytes);
        return Ok(());
    }
    show(&in_words(&letter).map_err(Problem::new)?);
    match std::str::from_utf8(&bytes) {
        Ok(text) => show(&format!("\n{text}\n")),
        Err(_) => show("\nits bytes are not text: `--raw` writes them as they are\n"),
    }
    Ok(())
}

fn in_a_line(letter: &DeadLetter) -> String {
    format!(
        "{}  {} ago  {}  {}  {}: {}\n",
        letter.id,
        age(since(letter.given_up_ms)),
        HumanBytes(letter.bytes),
        letter.subject,
        letter.reason,
        letter.detail.replace(char::is_control, " ")
    )
}

fn in_words(letter: &DeadLetter) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let mut row = |name: &str, text: String| writeln!(out, "{name:<13} {text}");
    row("id", letter.id.to_string())?;
    row("reason", format!("{}: {}", letter.reason, letter.detail))?;
    row(
        "given up",
        format!("{} ago", age(since(letter.given_up_ms))),
    )?;
    row("published", format!("{} ago", age(since(letter.popped_ms))))?;
    if let Some(old) = letter.requeued_from {
        row("requeued from", old.to_string())?;
    }
    row("subject", letter.subject.clone())?;
    row("size", counted(letter.bytes, "byte"))?;
    Ok(out)
}

impl Which {
    fn selection(&self) -> Selection {
        if self.all {
            Selection::All
        } else {
            Selection::These(self.ids.clone())
        }
    }
}

impl<'a> Listed<'a> {
    fn of(letter: &'a DeadLetter) -> Self {
        Self {
            id: letter.id.to_string(),
            reason: &letter.reason,
            detail: &letter.detail,
            given_up_ms: letter.given_up_ms,
            popped_ms: letter.popped_ms,
            requeued_from: letter.requeued_from.as_ref().map(Position::to_string),
            subject: &letter.subject,
            bytes: letter.bytes,
        }
    }
}

fn position(text: &str) -> Result<Position, String> {
    position_of(text).ok_or_else(|| "give an ID as `list` prints it, `<run>.<n>`".to_owned())
}

fn problem(error: SpillError) -> Problem {
    match error {
        SpillError::InUse { dir, pid } => {
            let dir = dir.display();
            let by = pid.map_or_else(String::new, |pid| format!(" by process {pid}"));
            Problem::new(format_args!(
                "{dir} is in use{by}: stop the publisher first, it owns its dead letters while it runs"
            ))
        }
        other => owner::problem(&other),
    }
}
