//! Pages of a stream that are read through the proxy.

use std::mem;

use super::frame::Frame;
use super::{Proxy, Shared};

#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Where each page was to begin.
    from: Vec<u64>,
    /// Before how many more of them a connection is cut, once.
    cut_after: Option<usize>,
}

impl Proxy {
    /// Lets so many requests for pages pass, and cuts the connection of the next one instead.
    pub fn cut_after_reads(&self, reads: usize) {
        self.set(|state| state.reads.cut_after = Some(reads));
    }

    /// At which sequences the pages were to begin that have been asked for since the last call.
    pub fn reads(&self) -> Vec<u64> {
        mem::take(&mut self.shared.state.lock().reads.from)
    }
}

impl Shared {
    /// Notes a request for a page. Answers whether the connection is to be cut before it.
    pub(super) fn cuts_read(&self, frame: &Frame) -> bool {
        let Some(from) = frame.page() else {
            return false;
        };
        let reads = &mut self.state.lock().reads;
        reads.from.push(from);
        match reads.cut_after {
            Some(0) => {
                reads.cut_after = None;
                true
            }
            left => {
                reads.cut_after = left.map(|left| left - 1);
                false
            }
        }
    }
}

impl Frame {
    /// Where a page of a stream begins that is asked for.
    fn page(&self) -> Option<u64> {
        let is_read = |subject: &str| subject.starts_with("$JS.API.DIRECT.GET.");
        self.subject().filter(|subject| is_read(subject))?;
        let body = self.body();
        let wanted: serde_json::Value = serde_json::from_str(&body[body.find('{')?..]).ok()?;
        wanted.get("batch")?;
        wanted["seq"].as_u64()
    }
}
