//! Command-line arguments of the benches with a harness of their own: the names of parts, `--test`, `--rows N`,
//! `--seconds N`, `--publishers N,N`, `--samples N`.

use std::str::FromStr;

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
    /// How long the parts that ask for it are to measure.
    pub(crate) seconds: Option<u64>,
    /// With how many publishers, one after the other; none is named if it is empty.
    pub(crate) publishers: Vec<usize>,
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
            seconds: None,
            publishers: Vec::new(),
            samples: None,
        };
        let mut given = std::env::args().skip(1);
        while let Some(arg) = given.next() {
            match arg.as_str() {
                "--test" => args.length = Length::Short,
                "--rows" => args.rows = numbers(given.next()).pop(),
                "--seconds" => args.seconds = numbers(given.next()).pop(),
                "--publishers" => args.publishers = numbers(given.next()),
                "--samples" => args.samples = numbers(given.next()).pop(),
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

/// Numbers with commas between them.
fn numbers<N: FromStr>(given: Option<String>) -> Vec<N> {
    let given = given.expect("a number behind the flag");
    let number = |word: &str| word.parse().ok().expect("a number");
    given.split(',').map(number).collect()
}
