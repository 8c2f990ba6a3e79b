//! The status as JSON: like `status.json`, but with durations in seconds.

use serde_json::Value;
use spillring::stats::Status;

use crate::console::Problem;

/// As one line.
pub(super) fn of(status: &Status) -> Result<String, Problem> {
    let mut json = serde_json::to_value(status).map_err(Problem::new)?;
    if let Some(Value::Object(stats)) = json.get_mut("stats") {
        let oldest = status.stats.oldest_entry_age;
        stats.remove("oldest_entry_age");
        stats.insert(
            "oldest_entry_age_seconds".to_owned(),
            oldest.map(|age| age.as_secs_f64()).into(),
        );
    }
    Ok(json.to_string() + "\n")
}
