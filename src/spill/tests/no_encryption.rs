//! A build without the feature `encryption` leaves an encrypted directory as it is, and says which feature it lacks.

use super::*;

#[test]
fn an_encrypted_directory_is_refused_by_name_of_the_feature() -> Outcome {
    let dir = tempfile::tempdir()?;
    let (mut spill, run) = begun(dir.path())?;
    spill.append(&records(&run, 1..=3))?;
    end(&mut spill, 3)?;
    drop(spill);
    let check = dir.path().join("encryption");
    std::fs::write(&check, format!("xchacha20poly1305 {}\n", "00".repeat(40)))?;
    assert_refused(dir.path());
    std::fs::remove_file(check)?;
    // An encrypted row looks like this from outside.
    let file = &segment_files(dir.path())?[0];
    rusqlite::Connection::open(file)?.execute_batch(
        "ALTER TABLE rows ADD COLUMN nonce_tag BLOB; UPDATE rows SET nonce_tag = zeroblob(40)",
    )?;
    assert_refused(dir.path());
    Ok(())
}

fn assert_refused(dir: &Path) {
    let looked = crate::status::status(dir).map(drop);
    for refused in [open(dir).map(drop), looked] {
        let error = refused.expect_err("it is encrypted");
        assert!(matches!(error, SpillError::Encrypted { .. }), "{error}");
        assert!(
            error.to_string().contains("feature `encryption`"),
            "{error}"
        );
    }
}
