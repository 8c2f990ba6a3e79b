use super::*;

fn full() -> View {
    let mut view = View {
        bytes_max: 1 << 20,
        newest: Some(Key::new(1, 100)),
        ..View::default()
    };
    view.totals.backlog.bytes = 1 << 20;
    view
}

fn evicting() -> Config {
    let mut config = Config::new("spill");
    config.when_spill_full = WhenSpillFull::EvictOldest;
    config
}

fn cap(eviction: &Eviction, config: &Config, view: &View) -> Cap {
    let evictable = evictable(view, None, SinkMayHave::Nothing);
    eviction.cap(config, view, &evictable)
}

#[test]
fn a_cap_is_full_unless_the_oldest_may_go() {
    let eviction = Eviction::default();
    let mut view = full();
    assert_eq!(cap(&eviction, &Config::new("spill"), &view), Cap::Full);
    assert_eq!(cap(&eviction, &evicting(), &view), Cap::Evictable);
    view.totals.backlog.bytes -= 1;
    assert_eq!(cap(&eviction, &evicting(), &view), Cap::Room);
    view.room = Room::Full;
    assert_eq!(cap(&eviction, &evicting(), &view), Cap::Full);
    view.room = Room::Absent;
    assert_eq!(cap(&eviction, &evicting(), &view), Cap::Absent);
}

#[test]
fn dead_letters_alone_at_the_cap_cost_no_entry() {
    let mut view = full();
    view.totals.dead_letters.bytes = view.bytes_max;
    assert_eq!(cap(&Eviction::default(), &evicting(), &view), Cap::Full);
}

#[test]
fn what_could_not_be_evicted_is_not_tried_again_until_something_changes() {
    let mut eviction = Eviction::default();
    let mut view = full();
    let order = evictable(&view, None, SinkMayHave::Nothing);
    eviction.evicted(0, &view, &order);
    assert_eq!(cap(&eviction, &evicting(), &view), Cap::Full);
    view.newest = Some(Key::new(1, 101));
    assert_eq!(cap(&eviction, &evicting(), &view), Cap::Evictable);
    let known = evictable(&view, Some(Key::new(1, 1)), SinkMayHave::Nothing);
    eviction.evicted(0, &view, &order);
    assert_eq!(eviction.cap(&evicting(), &view, &known), Cap::Evictable);
    eviction.evicted(5, &view, &order);
    assert_eq!(cap(&eviction, &evicting(), &view), Cap::Evictable);
}

#[test]
fn one_eviction_makes_room_for_the_excess_and_a_little_more() {
    let mut view = full();
    let bytes = |view: &View| evictable(view, None, SinkMayHave::Nothing).bytes;
    assert_eq!(bytes(&view), (1 << 20) / CAP_PARTS);
    view.totals.backlog.bytes += 1_000;
    assert_eq!(bytes(&view), (1 << 20) / CAP_PARTS + 1_000);
    view.totals.backlog.bytes = 1 << 40;
    assert_eq!(bytes(&view), EVICT_BYTES_MAX);
}
