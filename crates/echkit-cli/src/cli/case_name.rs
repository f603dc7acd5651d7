//! Names of testbed cases on the command line.

use clap::Arg;
use clap::builder::{PossibleValue, TypedValueParser};

/// The name of a testbed case. Shells complete it; the testbed says which names are near to one
/// that it does not know.
#[derive(Clone, Debug)]
pub(crate) struct CaseName;

impl TypedValueParser for CaseName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        clap::builder::StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            echkit_testbed::case_names()
                .into_iter()
                .map(PossibleValue::new),
        ))
    }
}
