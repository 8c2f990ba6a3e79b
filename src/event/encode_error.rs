//! The error of an entry that cannot be encoded.

/// An entry could not be encoded.
///
/// See the example of [`Event`](crate::Event).
#[derive(Debug, thiserror::Error)]
#[error("the entry cannot be encoded: {0}")]
pub struct EncodeError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl From<serde_json::Error> for EncodeError {
    fn from(error: serde_json::Error) -> Self {
        Self(Box::new(error))
    }
}
