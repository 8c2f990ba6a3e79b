//! `sealed.json` against failures, and against seals that are stored meanwhile.

use std::io;
use std::sync::Arc;

use super::*;
use crate::change::{Change, WatchChanges, watch_changes};
use crate::seal::signer::SEALED;

/// The sink stores another seal while one is being written.
struct StoredMeanwhile(Arc<Signer>);

impl WatchChanges for StoredMeanwhile {
    fn before(&self, change: Change<'_>) -> io::Result<()> {
        if matches!(change, Change::Rename(_, to) if to.ends_with(SEALED)) {
            watch_changes(None);
            stored(&self.0, 7);
        }
        Ok(())
    }

    fn after(&self, _: Change<'_>) {}

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn pause(&self, _: Duration) {}
}

#[test]
fn the_newest_stored_seal_is_written_once_and_until_that_has_succeeded() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Arc::new(signer(&dir));
    let file = dir.path().join(SEALED);
    let written = || {
        let seal: Seal = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        seal.tree().ok()
    };
    for size in [3, 5] {
        stored(&signer, size);
        signer.keep();
        assert_eq!(written(), Some(tree(size)));
    }
    fs::remove_file(&file).unwrap();
    signer.keep();
    assert_eq!(written(), None, "there is nothing new");
    stored(&signer, 6);
    let in_the_way = file.with_extension("json.new");
    fs::create_dir(&in_the_way).unwrap();
    signer.keep();
    fs::remove_dir(&in_the_way).unwrap();
    watch_changes(Some(Arc::new(StoredMeanwhile(Arc::clone(&signer)))));
    for size in [6, 7] {
        signer.keep();
        assert_eq!(written(), Some(tree(size)));
    }
}
