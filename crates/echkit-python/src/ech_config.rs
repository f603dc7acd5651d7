//! ECHConfigLists, parsed and judged once.

use std::hash::{DefaultHasher, Hash, Hasher};

use echkit_proto::config::{Chosen, EchConfigList as List};
use echkit_tls::client::{EchOffer, OuterName, RealOffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::failure::ssl_error;

/// An ECHConfigList with a config that can be offered.
#[pyclass(frozen, module = "echkit._echkit")]
#[derive(Debug)]
pub(crate) struct EchConfigList {
    encoded: Vec<u8>,
    chosen: Chosen,
    /// Offered in turn where encapsulating to the chosen config's key fails.
    others: Vec<Chosen>,
}

#[pymethods]
impl EchConfigList {
    /// From a list in binary form, or as text.
    #[new]
    fn new(list: &[u8]) -> PyResult<Self> {
        let bad = |error: &dyn std::fmt::Display| {
            ssl_error("BAD_ECHCONFIG", &format!("bad ECHConfigList: {error}"))
        };
        let list = match std::str::from_utf8(list) {
            Ok(text) if !list.starts_with(&[0]) => {
                List::from_text(text).map_err(|error| bad(&error))?
            }
            _ => List::parse(list).map_err(|error| bad(&error))?,
        };
        Self::from_list(&list)
    }

    /// The list in binary form.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.encoded)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.encoded.hash(&mut hasher);
        hasher.finish()
    }
}

impl EchConfigList {
    pub(crate) fn from_list(list: &List) -> PyResult<Self> {
        let selection = list.select();
        let Some(chosen) = selection.chosen else {
            let why: Vec<String> = selection
                .verdicts
                .iter()
                .filter_map(|verdict| verdict.why_not.as_ref().map(ToString::to_string))
                .collect();
            return Err(ssl_error(
                "NO_SUITABLE_ECHCONFIG",
                &format!("no suitable ECHConfig: {}", why.join("; ")),
            ));
        };
        Ok(Self {
            encoded: list.encode(),
            chosen,
            others: selection.others,
        })
    }

    /// The public_name of the config that is offered.
    pub(crate) fn public_name(&self) -> Option<&str> {
        self.chosen.contents().public_name.as_str()
    }

    /// The offer of it.
    pub(crate) fn offer(&self) -> EchOffer {
        let mut offer = RealOffer::new(self.chosen.clone());
        offer.others.clone_from(&self.others);
        EchOffer::Real(Box::new(offer))
    }
}

/// Checks a name for the outer hello.
pub(crate) fn outer(name: &str) -> PyResult<OuterName> {
    OuterName::new(name).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Checks a name for the outer hello, and returns it in lower case.
#[pyfunction]
pub(crate) fn outer_name(name: &str) -> PyResult<String> {
    Ok(outer(name)?.as_str().to_owned())
}
