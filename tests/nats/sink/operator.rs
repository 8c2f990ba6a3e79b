//! An operator of NATS, an account with `JetStream`, and its users, as `nsc` makes them: JWTs, each signed by the one
//! above.

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

pub(super) struct Operator {
    key: KeyPair,
    system: KeyPair,
    account: KeyPair,
}

pub(super) struct User {
    pub(super) jwt: String,
    pub(super) seed: String,
}

impl Operator {
    pub(super) fn new() -> Self {
        Self {
            key: KeyPair::new_operator(),
            system: KeyPair::new_account(),
            account: KeyPair::new_account(),
        }
    }

    /// The config of a server of this operator.
    pub(super) fn config(&self) -> String {
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": -1, "disk_storage": -1,
        });
        let account = json!({"type": "account", "version": 2, "limits": limits});
        let operator = json!({"type": "operator", "version": 2});
        let public = self.system.public_key();
        format!(
            "operator: {}\nsystem_account: {public}\nresolver: MEMORY\nresolver_preload {{ {public}: {}, {}: {} }}",
            signed(&self.key, &self.key, &operator),
            signed(
                &self.key,
                &self.system,
                &json!({"type": "account", "version": 2})
            ),
            self.account.public_key(),
            signed(&self.key, &self.account, &account),
        )
    }

    /// A user of the account.
    pub(super) fn user(&self) -> User {
        let key = KeyPair::new_user();
        let limits = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
        User {
            jwt: signed(&self.account, &key, &limits),
            seed: key.seed().unwrap(),
        }
    }
}

impl User {
    /// The content of the credentials file.
    pub(super) fn creds(&self) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            self.jwt, self.seed
        )
    }
}

fn signed(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": "TEST", "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test",
        "nats": nats,
    });
    let encoded = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let text = format!("{}.{}", encoded(&header), encoded(&claims));
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
}
