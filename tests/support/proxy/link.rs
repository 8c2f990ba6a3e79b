//! One connection through the proxy: a thread for each direction, which takes over frame by frame.

use std::io::{self, BufReader, BufWriter, Write};
use std::net::{Shutdown, TcpStream};

use super::frame::Frame;
use super::moments::Kept;
use super::{Direction, Hold, Shared, Verdict};

const BUFFER: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: usize,
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
}

impl Link {
    pub(super) fn cut(&self) {
        for end in [&self.client, &self.server] {
            end.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Shared {
    /// Takes frames to the server until either end is gone. A held transaction outlives its client.
    pub(super) fn to_server(&self, link: &Link) -> io::Result<()> {
        let mut from = BufReader::with_capacity(BUFFER, &link.client);
        let mut to = BufWriter::with_capacity(BUFFER, &link.server);
        let mut kept = Vec::new();
        while let Some(mut frame) = Frame::read(&mut from)? {
            if self.cuts_read(&frame) {
                return to.flush();
            }
            let place = frame.place();
            let armed = self.saw(link, &frame, place);
            let keeping = !kept.is_empty() || armed == Some(Hold::Batch) && place.begins();
            let whole = (keeping && place.ends()).then(|| Kept::until(&frame));
            self.alter(&mut frame);
            kept.push(frame);
            if keeping && !place.ends() {
                continue;
            }
            let held = keeping || armed == Some(Hold::Commit) && place.ends();
            let verdict = if held {
                to.flush()?;
                self.hold(link, whole)
            } else {
                Verdict::Pass
            };
            self.while_stalled(Direction::ToServer);
            let bytes: Vec<u8> = kept.drain(..).flat_map(|frame| frame.bytes).collect();
            self.write(&mut to, &bytes, verdict)?;
            if held || from.buffer().is_empty() {
                to.flush()?;
            }
            if held && verdict == Verdict::Pass {
                self.until_answered(link);
            }
        }
        to.flush()
    }

    fn write(&self, to: &mut impl Write, bytes: &[u8], verdict: Verdict) -> io::Result<()> {
        let passing = match verdict {
            Verdict::Pass => self.budget(bytes.len()),
            Verdict::Half => bytes.len() - bytes.len().min(100) / 2,
            Verdict::Swallow => return Ok(()),
            Verdict::Cut => 0,
        };
        to.write_all(&bytes[..passing])?;
        if passing == bytes.len() {
            return Ok(());
        }
        to.flush()?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// Takes frames to the client. What comes after the client is gone is still read, and dropped.
    pub(super) fn to_client(&self, link: &Link) -> io::Result<()> {
        let mut from = BufReader::with_capacity(BUFFER, &link.server);
        let mut to = BufWriter::with_capacity(BUFFER, &link.client);
        while let Some(mut frame) = Frame::read(&mut from)? {
            let answers = self.answers(link, &frame);
            let acknowledges = answers && frame.is_acknowledgement();
            let verdict = if acknowledges {
                self.acknowledgement(link)
            } else {
                Verdict::Pass
            };
            self.state.lock().tamper_to_client(&mut frame);
            self.while_stalled(Direction::ToClient);
            if answers {
                // Before the client knows it: then it goes on with the next one.
                self.answered(link, &frame, acknowledges && verdict == Verdict::Pass);
            }
            match verdict {
                Verdict::Pass => drop(to.write_all(&frame.bytes)),
                Verdict::Swallow => {}
                Verdict::Half => {
                    to.write_all(&frame.bytes[..frame.bytes.len() / 2])?;
                    return to.flush();
                }
                Verdict::Cut => return Ok(()),
            }
            if from.buffer().is_empty() {
                to.flush().ok();
            }
        }
        Ok(())
    }
}
