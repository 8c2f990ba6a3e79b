//! The spill of a publisher that is not running, for whoever only looks: read as a whole, and left as it is.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::error::SpillError;
use crate::event::{PublisherId, Record, RunId};

use super::database::{Summary, database_error, read_summary};
use super::directory::{DATABASE, Directory};
use super::fault::Fault;
use super::mark::{Level, Mark};
use super::reading::Reading;
use super::rows::{self, Row};
use super::source::Source;
use super::{quarantine, runs, schema};

/// What is in the spill, entry by entry, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Look<'d> {
    reading: Reading<'d>,
    level: Level,
    /// Of the database, if a start would use it; nothing is to be compared with it otherwise.
    summary: Option<Summary>,
    dead_letters: DeadLetters,
    quarantined: Vec<PathBuf>,
    /// Databases that cannot even be opened.
    unopened: usize,
    damage: Vec<String>,
}

/// What was found, all told.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Entries that can be read.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_popped_ms: Option<u64>,
    pub(crate) run: Option<RunId>,
    pub(crate) dead_letters: u64,
    pub(crate) dead_letter_bytes: u64,
    /// Rows that are not fit to be read.
    pub(crate) damaged: u64,
    /// Entries that are missing, at least.
    pub(crate) missing: u64,
    /// Databases that cannot be read to the end.
    pub(crate) broken: u64,
    pub(crate) quarantined: Vec<PathBuf>,
    /// Sentences that say what is wrong.
    pub(crate) damage: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct DeadLetters {
    sound: u64,
    damaged: u64,
    /// What the sound ones count for.
    bytes: u64,
}

impl<'d> Look<'d> {
    /// Opens whatever a start would read. Errors are those that pass, or that somebody can mend.
    pub(crate) fn at(directory: &'d Directory) -> Result<Self, SpillError> {
        let mut damage = Vec::new();
        let publisher = identity(directory, &mut damage)?;
        let mark = directory.mark();
        let known = Mark::look(&mark);
        if known.is_none() && std::fs::metadata(&mark).is_ok_and(|mark| mark.len() > 0) {
            damage.push("the mark is damaged: what has vanished cannot be told".to_owned());
        }
        let level = known.unwrap_or_default();
        let quarantined = quarantine::quarantined(directory.path())?;
        let waiting = quarantine::all_waiting(directory.path())?;
        // How many transactions those have seen that are, or would be, set aside.
        let mut aside = Vec::new();
        let mut sources = Vec::new();
        for folder in &waiting {
            damage.push(format!("{} waits to be salvaged", folder.display()));
            let source = schema::open_to_read(&folder.join(DATABASE)).map(Source::new);
            aside.push(source.as_ref().ok().and_then(Source::commits));
            sources.extend(source);
        }
        let mut unopened = waiting.len() - sources.len();
        let (current, usable) = current(&directory.database(), level, &mut damage)?;
        unopened += usize::from(current.is_none() && usable.is_none());
        let current = current.map(Source::new);
        let place = if usable.is_some() { 0 } else { sources.len() };
        if usable.is_none() {
            aside.push(current.as_ref().and_then(Source::commits));
        }
        sources.splice(place..place, current);
        let summary = usable.filter(|_| aside.is_empty());
        let holds = match (aside.first(), summary) {
            (Some(seen), _) => seen.is_none_or(|seen| seen <= level.commits),
            (None, summary) => summary.is_some_and(|summary| summary.commits < level.commits),
        };
        let agrees = summary.is_some_and(|summary| summary.commits == level.commits);
        let heard = (holds || agrees).then_some(level);
        let dead_letters = dead_letters(&sources);
        Ok(Self {
            reading: Reading::new(directory, publisher, sources, heard, holds),
            level: heard.unwrap_or_default(),
            summary,
            dead_letters,
            quarantined,
            unopened,
            damage,
        })
    }

    /// The next entry that a start would deliver. An error says that a publisher wants the directory.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, SpillError> {
        self.reading.next()
    }

    /// Once all has been read.
    pub(crate) fn findings(self) -> Findings {
        let tally = self.reading.tally();
        let present = tally.entries + tally.damaged;
        let mut findings = Findings {
            entries: tally.entries,
            bytes: tally.bytes,
            oldest_popped_ms: tally.oldest_popped_ms,
            run: self.reading.runs().newest(),
            dead_letters: self.dead_letters.sound,
            dead_letter_bytes: self.dead_letters.bytes,
            damaged: tally.damaged,
            missing: tally
                .missing
                .max(self.level.entries.saturating_sub(present)),
            broken: tally.broken + self.unopened as u64,
            quarantined: self.quarantined,
            damage: self.damage,
        };
        findings.tell(self.summary, self.level, self.dead_letters);
        findings
    }
}

impl Findings {
    fn tell(&mut self, summary: Option<Summary>, level: Level, dead_letters: DeadLetters) {
        let damage = &mut self.damage;
        if let Some(summary) = summary {
            if summary.commits < level.commits {
                let (some, all) = (summary.commits, level.commits);
                damage.push(format!("the database knows {some} of its {all} commits"));
            }
            let totals = &summary.totals;
            let sound = self.damaged + self.missing + self.broken == 0;
            if sound && (totals.entries, totals.bytes) != (self.entries, self.bytes) {
                let (told, entries) = (totals.entries, self.entries);
                damage.push(format!(
                    "the totals tell of {told} entries, there are {entries}"
                ));
            }
            let kept = dead_letters.sound + dead_letters.damaged;
            if totals.dead_letters > kept {
                let gone = totals.dead_letters - kept;
                damage.push(format!("{gone} dead letters are missing"));
            }
        }
        for (count, what) in [
            (self.broken, "databases cannot be read to the end"),
            (self.damaged, "rows are damaged"),
            (dead_letters.damaged, "dead letters are damaged"),
        ] {
            if count > 0 {
                damage.push(format!("{count} {what}"));
            }
        }
        if self.missing > 0 {
            damage.push(format!("at least {} entries are missing", self.missing));
        }
    }
}

/// Whether a database can be used, and all of its rows can be read; some may be missing.
pub(super) fn is_readable(directory: &Directory, publisher: PublisherId) -> bool {
    let file = directory.database();
    let level = Level::default();
    let Ok((Some(conn), Some(_))) = current(&file, level, &mut Vec::new()) else {
        return false;
    };
    let mut reading = Reading::new(directory, publisher, vec![Source::new(conn)], None, false);
    while let Ok(Some(_)) = reading.next() {}
    let tally = reading.tally();
    tally.damaged + tally.broken == 0
}

/// Who the publisher is; nobody, if that cannot be read any more.
fn identity(directory: &Directory, damage: &mut Vec<String>) -> Result<PublisherId, SpillError> {
    match directory.known_identity() {
        Ok(Some(id)) => return Ok(id),
        Ok(None) => damage.push("the publisher's id is missing or damaged".to_owned()),
        Err(error) => return Err(error),
    }
    Ok(PublisherId(uuid::Uuid::nil()))
}

/// The database, and its summary if a start would use it.
fn current(
    file: &Path,
    level: Level,
    damage: &mut Vec<String>,
) -> Result<(Option<Connection>, Option<Summary>), SpillError> {
    if !file.exists() {
        if level.commits > 0 {
            damage.push(format!("{} is missing", file.display()));
        }
        return Ok((None, Some(Summary::default())));
    }
    let conn = match schema::open_to_read(file) {
        Err(error) if Fault::of(&error).sets_aside() => {
            damage.push(error.to_string());
            return Ok((None, None));
        }
        opened => opened?,
    };
    match judge(&conn) {
        Ok(summary) => {
            if level.commits == 0 && summary.commits > 1 {
                damage.push("the mark is missing: what has vanished cannot be told".to_owned());
            }
            Ok((Some(conn), Some(summary)))
        }
        Err(error) if Fault::of(&error) == Fault::Passing => Err(error),
        Err(error) => {
            damage.push(error.to_string());
            Ok((Some(conn), None))
        }
    }
}

fn judge(conn: &Connection) -> Result<Summary, SpillError> {
    if schema::is_empty(conn)? {
        return Ok(Summary::default());
    }
    schema::check_version(conn)?;
    let summary = read_summary(conn).map_err(database_error("read"))?;
    runs::check(conn).map_err(database_error("read the runs of"))?;
    Ok(summary)
}

/// One database may hold copies of another's: the one that has the most counts.
fn dead_letters(sources: &[Source]) -> DeadLetters {
    let counts = sources
        .iter()
        .filter_map(|source| count_dead_letters(source.connection()).ok());
    counts
        .max_by_key(|count| count.sound + count.damaged)
        .unwrap_or_default()
}

fn count_dead_letters(conn: &Connection) -> rusqlite::Result<DeadLetters> {
    let mut count = DeadLetters::default();
    let mut statement = conn.prepare(rows::SELECT_DEAD_LETTERS)?;
    let mut rows = statement.query(())?;
    // What cannot be read is missing.
    while let Ok(Some(row)) = rows.next() {
        match Row::read(row)? {
            Ok(row) => {
                count.sound += 1;
                count.bytes += row.size();
            }
            Err(_) => count.damaged += 1,
        }
    }
    Ok(count)
}
