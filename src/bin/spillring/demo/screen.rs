//! Progress of the demo: live rows on a terminal, otherwise a line per second.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use spillring::{State, Stats};

use super::outage::{Outage, Phase};
use crate::console::show;

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// The state of the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    Live,
    /// The publishers are faster than the sink.
    Behind,
    Away,
    CatchingUp,
    Delivered,
    Checked,
}

impl Scene {
    pub(super) fn of(stats: &Stats, outage: &Outage) -> Self {
        match (outage.phase(), stats.state) {
            (Phase::On, _) => Self::Away,
            (_, State::Live) => Self::Live,
            (Phase::Before, _) => Self::Behind,
            (Phase::Over, _) => Self::CatchingUp,
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Live => "there: entries go straight to it",
            Self::Behind => "there, and slower than the publishers: entries wait on disk",
            Self::Away => "away: entries go to disk",
            Self::CatchingUp => "back: the backlog goes to it, in order",
            Self::Delivered => "there: all is delivered; reading it back",
            Self::Checked => "there: all is delivered, and read back",
        }
    }

    fn style(self) -> &'static str {
        match self {
            Self::Away => "{prefix:>10}  {msg:.yellow}",
            _ => "{prefix:>10}  {msg:.green}",
        }
    }
}

/// The output.
#[derive(Debug)]
pub(super) enum Screen {
    Rows(Rows),
    Lines(ScreenLines),
}

#[derive(Debug)]
pub(super) struct Rows {
    all: MultiProgress,
    published: ProgressBar,
    delivered: ProgressBar,
    spilled: ProgressBar,
    replayed: ProgressBar,
    lost: ProgressBar,
    checked: ProgressBar,
    sink: ProgressBar,
    scene: Option<Scene>,
}

#[derive(Debug)]
pub(super) struct ScreenLines {
    start: Instant,
    next: Instant,
    scene: Option<Scene>,
}

impl Screen {
    pub(super) fn open(entries: u64, start: Instant) -> Self {
        if io::stdout().is_terminal() {
            Self::Rows(Rows::draw(entries))
        } else {
            Self::Lines(ScreenLines {
                start,
                next: start,
                scene: None,
            })
        }
    }

    pub(super) fn update(&mut self, stats: &Stats, scene: Scene) {
        match self {
            Self::Rows(rows) => rows.update(stats, scene),
            Self::Lines(lines) => {
                let now = Instant::now();
                if now >= lines.next || lines.scene != Some(scene) {
                    lines.write(stats, scene);
                    lines.next = now + LINE_EVERY;
                }
            }
        }
    }

    /// Shows the last counts before the check.
    pub(super) fn settle(&mut self, stats: &Stats, scene: Scene) {
        match self {
            Self::Rows(rows) => rows.update(stats, scene),
            Self::Lines(lines) => {
                lines.write(stats, scene);
                show("         reading it back and checking it\n");
            }
        }
    }

    /// Shows how many entries have been read back and checked.
    pub(super) fn checked(&mut self, entries: u64) {
        if let Self::Rows(rows) = self {
            rows.checked.set_position(entries);
            rows.checked.set_message(HumanCount(entries).to_string());
        }
    }

    /// Keeps the rows, and draws no more: the echo of Ctrl-C may have moved the cursor, and any further drawing would
    /// be a line too low.
    pub(super) fn break_off(&mut self) {
        if let Self::Rows(rows) = self {
            rows.all.set_draw_target(ProgressDrawTarget::hidden());
            show("\n");
        }
    }

    /// Keeps the rows, and moves below them.
    pub(super) fn leave(&mut self) {
        if let Self::Rows(rows) = self {
            rows.leave();
        }
    }
}

impl Rows {
    fn draw(entries: u64) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let row = |name: &'static str, template: &str| {
            let bar = all.add(ProgressBar::new(entries));
            bar.set_style(style(template));
            bar.set_prefix(name);
            bar
        };
        let bar = |name, color| {
            row(
                name,
                &format!("{{prefix:>10}}  {{bar:36.{color}/black.bright}}  {{msg}}"),
            )
        };
        Self {
            published: bar("published", "cyan"),
            delivered: bar("delivered", "green"),
            spilled: bar("spilled", "yellow"),
            replayed: bar("replayed", "blue"),
            lost: row("lost", "{prefix:>10}  {msg}"),
            checked: bar("checked", "magenta"),
            sink: row("sink", "{prefix:>10}  {msg}"),
            scene: None,
            all,
        }
    }

    fn update(&mut self, stats: &Stats, scene: Scene) {
        let set = |bar: &ProgressBar, at: u64, message: String| {
            bar.set_position(at);
            bar.set_message(message);
        };
        let count = |n: u64| HumanCount(n).to_string();
        set(&self.published, stats.accepted, count(stats.accepted));
        set(&self.delivered, stats.delivered, count(stats.delivered));
        let spilled = format!(
            "{}, {} still there",
            count(stats.appended),
            count(stats.spilled)
        );
        set(&self.spilled, stats.spilled, spilled);
        set(&self.replayed, stats.replayed, count(stats.replayed));
        self.lost
            .set_message(count(stats.lost.total() + stats.discarded.total()));
        if self.scene != Some(scene) {
            self.scene = Some(scene);
            self.sink.set_style(style(scene.style()));
            self.sink.set_message(scene.in_words());
        }
    }

    fn leave(&mut self) {
        if self.scene == Some(Scene::Delivered) {
            self.sink.set_message(Scene::Checked.in_words());
        }
        for bar in [
            &self.published,
            &self.delivered,
            &self.spilled,
            &self.replayed,
            &self.lost,
            &self.checked,
            &self.sink,
        ] {
            bar.abandon();
        }
        show("\n");
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

impl ScreenLines {
    fn write(&mut self, stats: &Stats, scene: Scene) {
        self.scene = Some(scene);
        let count = |n| HumanCount(n).to_string();
        show(&format!(
            "{:5.1} s  published {:>9}  delivered {:>9}  spilled {:>9}  replayed {:>9}  lost {}  the sink is {}\n",
            self.start.elapsed().as_secs_f64(),
            count(stats.accepted),
            count(stats.delivered),
            count(stats.appended),
            count(stats.replayed),
            stats.lost.total() + stats.discarded.total(),
            match scene {
                Scene::Away => "away",
                Scene::CatchingUp => "back",
                _ => "there",
            }
        ));
    }
}
