//! What a proxy alters on the way, so that a sound publisher looks like one that lacks one of its safeguards.

use super::frame::{Frame, Place};
use super::state::State;

/// Which safeguard is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    /// No transaction says which cursor it goes on from: the header gets a name that the server doesn't know.
    Unfenced,
    /// The cursor is ignored: each answer to a read of it has the first cursor that was ever read, under the true
    /// sequence, so that the fence accepts what is sent again.
    DeafToCursor,
    /// While a transaction is held, those that follow have its id.
    ReusedId,
    /// No fence holds: each transaction says another sequence, as if the server compared the right one wrongly.
    Misfenced,
    /// No message says which one it is: the header gets a name that the server doesn't know.
    Nameless,
}

impl State {
    /// Alters what goes to the servers.
    pub(super) fn tamper_to_server(&mut self, frame: &mut Frame) {
        match self.tamper {
            Some(Tamper::Unfenced) if frame.place() == Place::First => {
                let fence = "Nats-Expected-Last-Subject-Sequence";
                frame.overwrite(fence, "Gone-Expected-Last-Subject-Sequence");
            }
            Some(Tamper::Misfenced) => {
                let fence = "Nats-Expected-Last-Subject-Sequence";
                if let Some(sequence) = frame.header(fence).map(str::to_owned) {
                    let other = "9".repeat(sequence.len());
                    frame.overwrite(
                        &format!("{fence}: {sequence}"),
                        &format!("{fence}: {other}"),
                    );
                }
            }
            Some(Tamper::Nameless) => frame.overwrite("Nats-Msg-Id", "Gone-Msg-Id"),
            Some(Tamper::ReusedId) => {
                let kept = self.held.as_ref().and_then(|held| held.kept.as_ref());
                let id = frame.header("Nats-Batch-Id").map(str::to_owned);
                if let (Some(kept), Some(id)) = (kept, id) {
                    frame.overwrite(&id, &kept.id);
                    self.reused = Some((kept.id.clone(), id));
                }
            }
            _ => {}
        }
    }

    /// Alters what goes to the client.
    pub(super) fn tamper_to_client(&mut self, frame: &mut Frame) {
        if let (Some(Tamper::ReusedId), Some((given, own))) = (self.tamper, &self.reused) {
            frame.overwrite(given, own);
        }
        if self.tamper != Some(Tamper::DeafToCursor) {
            return;
        }
        let Some(data) = frame.read_cursor() else {
            return;
        };
        let first = self.first_cursor.get_or_insert_with(|| data.to_owned());
        let first = first.clone();
        frame.replace_data(&first);
    }
}
