//! The library's own tests for sinks, over the JetStream sink and a real server.

use spillring::sink::conformance::{self, Harness, Stored};
use spillring::{JetStreamSink, NatsConfig};

use crate::streams::make_stream;
use test_support::nats::{Message, NatsServer, read_stream};

struct Stream(NatsServer);

impl Harness for Stream {
    type Sink = JetStreamSink;

    fn reopen(&mut self) -> JetStreamSink {
        let mut config = NatsConfig::default();
        config.urls = vec![self.0.url().as_str().into()];
        JetStreamSink::new(config).expect("settings that can be used")
    }

    fn stored(&mut self) -> Vec<Stored> {
        let stored = |message: Message| Stored {
            id: message.header("Audit-Id").map(str::to_owned),
            bytes: message.payload.to_vec(),
        };
        let messages = read_stream(&self.0.url(), "AUDIT");
        messages.into_iter().map(stored).collect()
    }
}

#[test]
fn the_jetstream_sink_conforms() {
    let mut stream = Stream(NatsServer::start());
    // The harness is asked what is stored before any sink has made the stream.
    make_stream(&stream.0);
    if let Err(failure) = conformance::run(&mut stream) {
        panic!("{failure}");
    }
}
