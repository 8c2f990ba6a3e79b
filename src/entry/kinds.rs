//! Closed lists of names: the types of events and the kinds of credentials.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum whose variants are always written by name.
macro_rules! names {
    ($(#[$of_type:meta])* $type:ident { $($(#[$of_name:meta])* $name:ident $(= $number:literal)?,)+ }) => {
        $(#[$of_type])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$of_name])* $name $(= $number)?,)+
        }

        impl $type {
            const ALL: &[Self] = &[$(Self::$name,)+];

            /// The one with this number, in the order of the list.
            pub(super) fn of(number: u64) -> Option<Self> {
                Self::ALL.get(usize::try_from(number).ok()?).copied()
            }

            /// Its name in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

names! {
    /// What an [`AuditEntry`](crate::AuditEntry) records. Displayed, and in JSON, by its name; hashed by its number.
    ///
    /// ```
    /// use spillring::assembly::AuditEventType;
    ///
    /// assert_eq!(AuditEventType::ApprovalDenied as u32, 5);
    /// assert_eq!(AuditEventType::ApprovalDenied.to_string(), "ApprovalDenied");
    /// ```
    #[repr(u32)]
    AuditEventType {
        /// A tool call was held for judgement before it ran.
        ToolCallIntercepted = 0,
        /// An action broke a policy.
        PolicyViolation = 1,
        /// A credential was about to leave, and did not.
        CredentialLeakBlocked = 2,
        /// A human was asked for approval.
        ApprovalRequested = 3,
        /// A human approved.
        ApprovalGranted = 4,
        /// A human refused.
        ApprovalDenied = 5,
        /// The budget is nearly spent.
        BudgetLimitApproached = 6,
        /// The budget is spent.
        BudgetLimitExceeded = 7,
        /// Nobody answered a request for approval in time.
        ApprovalTimedOut = 8,
        /// A request for approval was handed to a team.
        ApprovalRouted = 9,
        /// A request for approval was handed on, for want of an answer.
        ApprovalEscalated = 10,
        /// An agent outlived its maximum age and was removed.
        AgentForceDeregistered = 11,
        /// A message to another team was stopped.
        MessageBlocked = 12,
        /// A tool call was sent to its tool, its secrets filled in on the way and not recorded.
        ToolDispatched = 13,
        /// A call from one agent to another was held for judgement.
        A2ACallIntercepted = 14,
        /// An agent claimed to be another, and was refused.
        A2AImpersonationAttempted = 15,
        /// A tool began to run in its sandbox.
        SandboxStarted = 16,
        /// A sandboxed tool reached for a file outside its folders.
        SandboxFilesystemBlocked = 17,
        /// A sandboxed tool used up its computing time and was ended.
        SandboxCpuTimeout = 18,
        /// A sandboxed tool used up its memory and was ended.
        SandboxOomKilled = 19,
        /// A sandboxed tool ended by itself.
        SandboxTerminated = 20,
        /// A sandboxed tool called its host too often and was refused.
        SandboxHostFnRateLimited = 21,
        /// An operator changed what governs an agent.
        GovernanceMutation = 22,
    }
}

names! {
    /// The kind of a found credential. Displayed, and in JSON, by its name.
    ///
    /// See the example of [`Redaction`](super::Redaction).
    CredentialKind {
        /// An API key of Anthropic.
        AnthropicKey,
        /// An access key id of AWS.
        AwsAccessKey,
        /// A service account of Google Cloud, as JSON.
        GcpServiceAccount,
        /// An API key of `OpenAI`.
        OpenAiKey,
        /// A connection string of Azure Storage.
        AzureConnectionString,
        /// A GitHub app's installation token.
        GitHubAppToken,
        /// A GitHub OAuth access token.
        GitHubOAuthToken,
        /// A GitHub personal access token.
        GitHubPat,
        /// A GitHub refresh token.
        GitHubRefreshToken,
        /// A GitHub user-to-server token.
        GitHubUserToken,
        /// A Slack app-level token.
        SlackAppToken,
        /// A Slack bot token.
        SlackBotToken,
        /// A Slack OAuth token.
        SlackOAuthToken,
        /// A Slack refresh token.
        SlackRefreshToken,
        /// A Slack user token.
        SlackUserToken,
        /// A `MongoDB` address with its password.
        MongodbUrl,
        /// A `MySQL` address with its password.
        MysqlUrl,
        /// A `PostgreSQL` address with its password.
        PostgresUrl,
        /// An elliptic-curve private key in PEM.
        EcPrivateKey,
        /// An `OpenSSH` private key.
        OpensshPrivateKey,
        /// A PGP private key block.
        PgpPrivateKey,
        /// A PKCS#8 private key in PEM.
        PrivateKey,
        /// An RSA private key in PEM.
        RsaPrivateKey,
        /// A credit card number whose check digit fits.
        CreditCardLuhn,
        /// An e-mail address.
        EmailAddress,
        /// A US social security number.
        SsnPattern,
        /// A long token that looks random.
        GenericHighEntropy,
        /// A pattern that a policy document defines.
        Custom,
    }
}
