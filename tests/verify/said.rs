//! What `verify` says of a trail.

use serde_json::Value;

use super::bench::Bench;

/// Its JSON, and its exit code.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) json: Value,
    code: Option<i32>,
}

/// Lets it judge, with these arguments behind the trail's name.
pub(super) fn verify(trail: &str, arguments: &[&str]) -> Verdict {
    let all = [&["verify", trail, "--json"], arguments].concat();
    let said = Bench::new().run(&all);
    assert_eq!(said.err, "", "{said:?}");
    Verdict {
        json: said.report(),
        code: said.code,
    }
}

impl Verdict {
    /// The findings that break completeness or integrity, in the order of their places: found without any key.
    pub(super) fn breaks(&self) -> Vec<&str> {
        self.names(|finding| !finding["breaks"].is_null() && finding["breaks"] != "authentic")
    }

    /// Those that contradict what was signed.
    pub(super) fn forged(&self) -> Vec<&str> {
        self.names(|finding| finding["breaks"] == "authentic")
    }

    pub(super) fn authentic(&self) -> &str {
        self.json["authentic"].as_str().unwrap()
    }

    /// Those that don't.
    pub(super) fn notes(&self) -> Vec<&str> {
        self.names(|finding| finding["breaks"].is_null())
    }

    fn names(&self, wanted: impl Fn(&Value) -> bool) -> Vec<&str> {
        let findings = self.json["findings"].as_array().unwrap().iter();
        let names = findings.filter(|finding| wanted(finding));
        names
            .map(|finding| finding["name"].as_str().unwrap())
            .collect()
    }

    #[track_caller]
    pub(super) fn assert_holds(&self) -> &Self {
        assert_eq!(self.breaks(), [""; 0], "{self:#?}");
        assert_eq!(self.forged(), [""; 0], "{self:#?}");
        assert_ne!(self.authentic(), "unsigned", "{self:#?}");
        self.assert_holds_unsigned()
    }

    /// The same where not all entries are signed.
    #[track_caller]
    pub(super) fn assert_holds_unsigned(&self) -> &Self {
        assert_eq!(self.breaks(), [""; 0], "{self:#?}");
        assert_eq!(
            (self.code, &self.json["complete"], &self.json["intact"]),
            (Some(0), &true.into(), &true.into())
        );
        self
    }

    /// These are found, and nothing else: of a verdict that does not hold.
    #[track_caller]
    pub(super) fn assert_breaks(&self, expected: &[&str]) -> &Self {
        assert_eq!(self.breaks(), expected, "{self:#?}");
        assert_eq!(self.code, Some(1));
        self
    }

    /// Whether it is complete, and whether it is intact.
    #[track_caller]
    pub(super) fn assert_is(&self, complete: bool, intact: bool) -> &Self {
        let verdicts = (&self.json["complete"], &self.json["intact"]);
        assert_eq!(verdicts, (&complete.into(), &intact.into()), "{self:#?}");
        self
    }

    /// Where the first finding of this name stands.
    pub(super) fn place(&self, name: &str) -> &Value {
        let findings = self.json["findings"].as_array().unwrap().iter();
        let mut named = findings.filter(|finding| finding["name"] == name);
        &named.next().expect("it is found")["place"]
    }

    /// Of each run, in the order of the trail.
    pub(super) fn of_runs(&self, key: &str) -> Vec<&Value> {
        let runs = self.json["runs"].as_array().unwrap();
        runs.iter().map(|run| &run[key]).collect()
    }
}
