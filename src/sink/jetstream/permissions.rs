//! The permissions of a user, and the remedy where one is missing.

use super::subjects::{covers, cursors, entries};
use crate::config::NatsConfig;

/// The patterns of subjects that a user must be permitted, by the settings.
#[derive(Debug)]
pub(super) struct Permissions {
    /// For entries and cursors.
    publish: [String; 2],
    /// For answers.
    subscribe: String,
}

impl Permissions {
    pub(super) fn needed(config: &NatsConfig) -> Self {
        Self {
            publish: [entries(config), cursors(config)],
            subscribe: format!("{}.>", config.inbox()),
        }
    }

    /// The server's message, such as `Permissions Violation for Publish to "a.b"`, and the remedy.
    pub(super) fn explain(&self, said: &str) -> String {
        let allow = if said.to_lowercase().contains("subscription") {
            format!("subscribe to {}", self.subscribe)
        } else {
            let subject = said.split('"').nth(1).unwrap_or_default();
            let pattern = self.publish.iter().find(|it| covers(it, subject));
            format!("publish on {}", pattern.map_or(subject, String::as_str))
        };
        format!("the server said: {said}; let the user {allow}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_let_the_user_do_is_named() {
        let permissions = Permissions::needed(&NatsConfig::default());
        let table = [
            (
                "Publish to \"assembly.audit.acme.a\"",
                "publish on assembly.audit.>",
            ),
            (
                "Publish to \"assembly.cursor.7\"",
                "publish on assembly.cursor.>",
            ),
            (
                "Publish to \"$JS.API.STREAM.INFO.AUDIT\"",
                "publish on $JS.API.STREAM.INFO.AUDIT",
            ),
            ("Subscription to \"_INBOX.x.*\"", "subscribe to _INBOX.>"),
        ];
        for (what, remedy) in table {
            let said = format!("nats: permissions violation for {what}");
            let explained = permissions.explain(&said);
            assert!(
                explained.ends_with(&format!("let the user {remedy}")),
                "{explained}"
            );
        }
    }
}
