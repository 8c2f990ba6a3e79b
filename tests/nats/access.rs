//! A server that asks who is there.

use spillring::State;

use crate::bench::{ALL, AMPLE, Bench};
use crate::reading::Reading;
use test_support::nats::{NatsServer, read_stream};

#[test]
fn a_wrong_token_costs_no_entry_and_the_right_one_delivers() {
    let server = NatsServer::start_with("authorization { token: swordfish }");
    let mut bench = Bench::new(&server.url());
    bench.nats.token = Some("herring".to_owned().into());
    let mut wrong = bench.start();
    wrong.publish(0..1_000);
    let stats = wrong.until_all_spilled();
    assert_eq!(stats.state, State::Spilling);
    wrong.shutdown(std::time::Duration::ZERO);

    bench.nats.token = Some("swordfish".to_owned().into());
    bench.config.ack_timeout = AMPLE;
    let mut right = bench.start();
    right.publish(1_000..ALL);
    let stats = right.deliver_all();
    assert_eq!((stats.inherited, stats.delivery_errors), (1_000, 0));
    let messages = read_stream(&server.url_as("swordfish"), "AUDIT");
    let [one, other] = Reading::judge(&messages).runs_each_once();
    one.assert_lines(0..1_000);
    other.assert_lines(1_000..ALL);
    other.assert_follows_clean(&one, 1_000);
}
