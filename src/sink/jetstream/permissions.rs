//! What a user needs to be permitted, and what to do where it is not.

use super::stream::covers;
use crate::config::NatsConfig;

/// The patterns of subjects that a user has to be let to, by the settings.
#[derive(Debug)]
pub(super) struct Permissions {
    /// Of entries, and of cursors.
    publish: [String; 2],
    /// Of answers.
    subscribe: String,
}

impl Permissions {
    pub(super) fn needed(config: &NatsConfig) -> Self {
        Self {
            publish: [&config.subject_prefix, &config.cursor_prefix].map(|it| format!("{it}.>")),
            subscribe: format!("{}.>", config.inbox()),
        }
    }

    /// What the server said, such as `Permissions Violation for Publish to "a.b"`, and what to do.
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
