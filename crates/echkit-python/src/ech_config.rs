//! ECHConfigLists, parsed and judged once.

use std::hash::{DefaultHasher, Hash, Hasher};

use echkit_proto::config::EchConfigList as List;
use echkit_tls::client::{ConfigSource, EchOffer, OuterName, RealOffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::failure::ssl_error;

/// The usable configs of an ECHConfigList, of which the first is offered.
#[pyclass(frozen, module = "echkit._echkit")]
#[derive(Debug)]
pub(crate) struct EchConfigList {
    encoded: Vec<u8>,
    offer: RealOffer,
}

#[pymethods]
impl EchConfigList {
    /// From a list in any of the forms in which people have it, bytes or text.
    #[new]
    fn new(list: &[u8]) -> PyResult<Self> {
        let list = List::from_bytes_or_text(list).map_err(|error| bad(&error))?;
        Self::select(&list)
    }

    /// The usable configs in binary form.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.encoded)
    }

    /// Whether the public_name of the config that is offered is `host` itself, so that the offer
    /// would hide nothing.
    fn exposes(&self, host: &str) -> bool {
        !self.offer.chosen.hides(host)
    }

    /// Those of the configs that hide `host`; `None` where there are none.
    fn hiding(&self, host: &str) -> PyResult<Option<Self>> {
        self.offer.clone().hiding(host).map(Self::of).transpose()
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
    fn select(list: &List) -> PyResult<Self> {
        let selection = list.select();
        let why: Vec<String> = selection
            .verdicts
            .iter()
            .filter_map(|verdict| verdict.why_not.as_ref().map(ToString::to_string))
            .collect();
        match RealOffer::from_selection(selection, ConfigSource::Manual) {
            Some(offer) => Self::of(offer),
            None => Err(ssl_error(
                "NO_SUITABLE_ECHCONFIG",
                &format!("no suitable ECHConfig: {}", why.join("; ")),
            )),
        }
    }

    /// The configs of an offer.
    pub(crate) fn of(offer: RealOffer) -> PyResult<Self> {
        let configs = std::iter::once(&offer.chosen).chain(&offer.others);
        let list = List::from_configs(configs.map(|chosen| chosen.config().clone()).collect())
            .map_err(|error| bad(&error))?;
        Ok(Self {
            encoded: list.encode(),
            offer,
        })
    }

    /// The public_name of the config that is offered.
    pub(crate) fn public_name(&self) -> Option<&str> {
        self.offer.chosen.contents().public_name.as_str()
    }

    /// The offer of it.
    pub(crate) fn offer(&self) -> EchOffer {
        EchOffer::Real(Box::new(self.offer.clone()))
    }
}

fn bad(error: &dyn std::fmt::Display) -> PyErr {
    ssl_error("BAD_ECHCONFIG", &format!("bad ECHConfigList: {error}"))
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
