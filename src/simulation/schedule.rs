//! A schedule: random events, then a peaceful end, and the verdict.

use std::time::Duration;

use super::judge::Found;
use super::sinks::Mood;
use super::weather::{Hiccup, Kind, Weather};
use super::world::World;
use crate::dead_letters::DeadLetters;

/// How long a peaceful drain may take.
const DRAIN_MAX: Duration = Duration::from_secs(10 * 60);
/// How much longer than its limit a shutdown may take, if the disk responds.
const END_MAX: Duration = Duration::from_secs(30);

impl World {
    pub(super) fn run(&mut self) -> Found {
        for _ in 0..self.plan.events {
            self.event()?;
        }
        self.conclude()
    }

    fn event(&mut self) -> Found {
        if self.process.is_none() {
            self.weather_changes();
            return self.start();
        }
        let rough = self.plan.rough;
        let mut dice = self.random.u32(..1_000);
        let mut chance = |of: u32| {
            let hit = dice < of;
            dice = dice.saturating_sub(of);
            if hit {
                dice = u32::MAX;
            }
            hit
        };
        if chance(rough.sink) {
            self.mood_changes();
        } else if chance(rough.disk) {
            self.weather_changes();
        } else if chance(rough.end) {
            self.end_comes();
        } else if chance(60) {
            self.publish();
        } else if chance(12) {
            self.flush();
        } else if chance(3) {
            return self.time_passes();
        } else {
            return self.go_on();
        }
        Ok(())
    }

    /// Runs the workers and the drainer; if nobody has anything to do, time passes.
    fn go_on(&mut self) -> Found {
        self.deliver_outcomes();
        match self.random.u8(..6) {
            0 => self.take_sink_order()?,
            1 => self.take_spill_order()?,
            _ => {}
        }
        let Some(process) = &self.process else {
            return Ok(());
        };
        if process.wake_at <= self.now {
            return self.turn();
        }
        let (next, pending) = (process.next_event(), self.random.u8(..4) == 0);
        if pending {
            self.take_sink_order()?;
            return self.take_spill_order();
        }
        let rest = next.saturating_sub(self.now);
        self.now += match self.random.u8(..3) {
            0 => rest.mul_f64(self.random.f64()),
            _ => rest,
        };
        self.in_time()
    }

    /// Nothing new happens for a while, so that periodic work is done.
    fn time_passes(&mut self) -> Found {
        let until = self.now + Duration::from_millis(self.random.u64(100..2_500));
        while self.now < until && self.process.is_some() {
            self.go_on()?;
        }
        Ok(())
    }

    fn in_time(&self) -> Found {
        let Some((_, deadline)) = self
            .process
            .as_ref()
            .and_then(|process| process.shutdown.as_ref())
        else {
            return Ok(());
        };
        let late = self.now.saturating_sub(*deadline);
        if late > END_MAX + self.latency {
            return Err(format!("a shutdown has not ended {late:?} after its limit"));
        }
        Ok(())
    }

    fn mood_changes(&mut self) {
        use Mood::{Disconnected, Hanging, Misconfigured, Moody, Unavailable, Well};
        let moods = [
            Well,
            Well,
            Unavailable,
            Disconnected,
            Misconfigured,
            Moody,
            Moody,
            Hanging,
        ];
        self.sink.mood = moods[self.random.usize(..moods.len())];
        let mood = self.sink.mood;
        self.note(format_args!("the sink is {mood:?}"));
    }

    fn weather_changes(&mut self) {
        use Weather::{Away, Fair, Full, NoWrites};
        if self.random.u32(..100) >= 40 + self.plan.rough.disk {
            return;
        }
        self.unwell();
        match self.random.u8(..4) {
            0 | 1 => {
                let weathers = [Fair, Fair, Fair, NoWrites, Away, Full];
                let weather = weathers[self.random.usize(..weathers.len())];
                self.disk.set(weather);
                self.note(format_args!("the disk is {weather:?}"));
            }
            2 => {
                let kind =
                    [Kind::Read, Kind::Write, Kind::Sync, Kind::Other][self.random.usize(..4)];
                let hiccup = Hiccup {
                    after: self.random.u32(..12),
                    kind,
                };
                self.disk.hiccup(Some(hiccup));
                self.note(format_args!("{hiccup:?}"));
            }
            _ => {
                let millis = [20, 20, 300, 5_000, 60_000][self.random.usize(..5)];
                self.latency = Duration::from_millis(millis);
                self.note(format_args!("orders of the disk take up to {millis} ms"));
            }
        }
    }

    fn end_comes(&mut self) {
        match self.random.u8(..4) {
            0 => self.kill(),
            1 | 2 => {
                let changes = self.random.u32(1..40);
                self.disk.die_after(changes);
                self.note(format_args!("dies after {changes} changes"));
            }
            _ => {
                let millis = [0, 50, 2_000, 60_000][self.random.usize(..4)];
                self.shutdown(Duration::from_millis(millis));
            }
        }
    }

    /// Everything is healthy from now on: what is there must drain.
    fn conclude(&mut self) -> Found {
        if self.random.bool() {
            self.kill();
        }
        self.note(format_args!("peace"));
        for _ in 0..2 {
            self.drain()?;
        }
        self.publish_after_all()?;
        let letters = self.letters()?;
        self.judge.conclude(&letters, self.excuses)
    }

    fn in_peace(&mut self) {
        self.sink.mood = Mood::Well;
        self.unwell();
        if !self.disk.is_dead() {
            self.disk.revive();
        }
        self.latency = Duration::from_millis(5);
        let soon = self.now + self.latency;
        if let Some((at, _)) = self
            .process
            .as_mut()
            .and_then(|process| process.spill_job.as_mut())
        {
            *at = soon.min(*at);
        }
    }

    /// Continues until the end, and starts a process before if necessary.
    fn drain(&mut self) -> Found {
        self.in_peace();
        let began = self.now;
        if self.process.is_none() {
            self.start()?;
        }
        self.shutdown(DRAIN_MAX);
        while self.process.is_some() {
            self.go_on()?;
            if self.now > began + DRAIN_MAX {
                let stats = self
                    .process
                    .as_ref()
                    .map(|process| process.publisher.stats());
                return Err(format!("it does not drain: {stats:?}"));
            }
        }
        Ok(())
    }

    /// One more run. Its entries announce the losses of earlier runs.
    fn publish_after_all(&mut self) -> Found {
        self.in_peace();
        self.start()?;
        self.publish();
        self.drain()?;
        let stats = self.last_spilled();
        if stats > 0 {
            return Err(format!("{stats} entries are left in the spill after all"));
        }
        Ok(())
    }

    fn last_spilled(&self) -> u64 {
        crate::status::status(&self.plan.config.spill_dir).map_or(0, |status| status.stats.spilled)
    }

    fn letters(&self) -> Result<Vec<Vec<u8>>, String> {
        let letters =
            DeadLetters::open(&self.plan.config.spill_dir).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for letter in letters.iter() {
            let letter = letter.map_err(|error| error.to_string())?;
            let got = letters.get(letter.id).map_err(|error| error.to_string())?;
            found.extend(got.map(|(_, bytes)| bytes));
        }
        Ok(found)
    }
}
