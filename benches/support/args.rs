//! What the benches with a harness of their own are told on the command line: the names of parts, `--test`, `--rows N`,
//! `--samples N`.

/// How thoroughly a part measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Full,
    /// A smoke test: `--test`.
    Short,
}

#[derive(Debug)]
pub(crate) struct Args {
    names: Vec<String>,
    pub(crate) length: Length,
    /// How many rows the parts that ask for it are to use.
    pub(crate) rows: Option<u64>,
    /// How many samples the parts that ask for it are to take of each candidate.
    pub(crate) samples: Option<usize>,
}

impl Args {
    /// Flags of cargo's own, such as `--bench`, are passed over.
    pub(crate) fn read() -> Self {
        let mut args = Self {
            names: Vec::new(),
            length: Length::Full,
            rows: None,
            samples: None,
        };
        let mut given = std::env::args().skip(1);
        while let Some(arg) = given.next() {
            match arg.as_str() {
                "--test" => args.length = Length::Short,
                "--rows" => {
                    let rows = given.next().and_then(|rows| rows.parse().ok());
                    args.rows = Some(rows.expect("--rows takes a number"));
                }
                "--samples" => {
                    let samples = given.next().and_then(|samples| samples.parse().ok());
                    args.samples = Some(samples.expect("--samples takes a number"));
                }
                flag if flag.starts_with("--") => {}
                name => args.names.push(name.to_owned()),
            }
        }
        args
    }

    /// Whether the part is asked for; all of them are if none is named.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name == part)
    }

    /// One or the other, by length.
    pub(crate) fn choose<T>(&self, full: T, short: T) -> T {
        match self.length {
            Length::Full => full,
            Length::Short => short,
        }
    }
}
