//! What a proxy alters on the way, so that a sound publisher looks like one that lacks one of its safeguards.

use super::State;
use super::frame::{Frame, Place};

/// Which safeguard is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    /// No transaction says which cursor it goes on from: the header gets a name that the server doesn't know.
    Unfenced,
    /// What the cursor says is not heeded: each answer to the question where it stands tells of the first cursor that
    /// was ever read, under the true sequence, so that the fence lets pass what is sent again.
    DeafToCursor,
    /// While a transaction is held, those that follow have its id.
    ReusedId,
}

impl State {
    /// Alters what goes to the servers.
    pub(super) fn tamper_to_server(&mut self, frame: &mut Frame) {
        match self.tamper {
            Some(Tamper::Unfenced) if frame.place() == Place::First => {
                let fence = "Nats-Expected-Last-Subject-Sequence";
                frame.overwrite(fence, "Gone-Expected-Last-Subject-Sequence");
            }
            Some(Tamper::ReusedId) => {
                let kept = self.held.as_ref().and_then(|held| held.kept.as_ref());
                let id = frame.header("Nats-Batch-Id").map(str::to_owned);
                if let (Some(kept), Some(id)) = (kept, id) {
                    frame.overwrite(&id, &kept.id);
                }
            }
            _ => {}
        }
    }

    /// Alters what goes to the client.
    pub(super) fn tamper_to_client(&mut self, frame: &mut Frame) {
        if self.tamper != Some(Tamper::DeafToCursor) || !frame.bytes.starts_with(b"MSG ") {
            return;
        }
        let Some(data) = data_of(frame.body()) else {
            return;
        };
        let first = self.first_cursor.get_or_insert_with(|| data.to_owned());
        let body = frame.body().trim_end().replace(data, first);
        frame.replace_body(&body);
    }
}

/// The payload, in base64, of a message that was asked for.
fn data_of(answer: &str) -> Option<&str> {
    if !answer.contains("stream_msg_get_response") {
        return None;
    }
    let (_, data) = answer.split_once("\"data\":\"")?;
    data.split_once('"').map(|(data, _)| data)
}
