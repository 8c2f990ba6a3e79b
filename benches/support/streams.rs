//! Streams on a real server: made plain, and counted.

use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt;

use test_support::nats::{block_on, client};

/// Makes a stream without transactions, as Agent Assembly's gateway makes it.
pub(crate) fn make(url: &str, name: &str, subjects: &str, replicas: usize) {
    block_on(async {
        let context = jetstream::new(client(url).await);
        let config = stream::Config {
            name: name.to_owned(),
            subjects: vec![subjects.to_owned()],
            num_replicas: replicas,
            ..Default::default()
        };
        context.create_stream(config).await.expect("a stream");
    });
}

/// Reads the headers of all entries in the stream `AUDIT`, and answers how many there are, once it is certain that they
/// are those of one run, each once, in order, and none missing but those that are announced as lost.
pub(crate) fn count_in_order(url: &str) -> u64 {
    block_on(async {
        let context = jetstream::new(client(url).await);
        let stream = context.get_stream("AUDIT").await.expect("the stream");
        let config = consumer::pull::OrderedConfig {
            filter_subject: "assembly.audit.>".to_owned(),
            headers_only: true,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.expect("a consumer");
        let mut messages = consumer.messages().await.expect("messages");
        let mut last = String::new();
        let (mut n, mut count) = (0, 0);
        loop {
            let message = messages.next().await.expect("more").expect("a message");
            let header = |name| Some(message.headers.as_ref()?.get(name)?.as_str());
            let id = header("Audit-Id").expect("each entry has an id");
            let gone = header("Audit-Lost").map_or(0, |gone| gone.parse().expect("a number"));
            let (run, number) = id.rsplit_once('.').expect("run and number");
            assert_eq!(number.parse(), Ok(n + 1 + gone), "{id} behind {n}");
            assert!(count == 0 || last == run, "one run");
            run.clone_into(&mut last);
            (n, count) = (n + 1 + gone, count + 1);
            if message.info().expect("a JetStream message").pending == 0 {
                return count;
            }
        }
    })
}
