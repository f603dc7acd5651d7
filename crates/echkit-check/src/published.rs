//! The ECHConfigs that the records publish.

use echkit::config::{Chosen, EchConfigList};
use echkit::discover::Discovery;

/// The usable configs of all records that clients use.
pub(crate) fn usable_configs(discovery: &Discovery) -> impl Iterator<Item = &Chosen> {
    let lists = discovery.endpoints.iter().filter_map(|e| e.ech.as_ref());
    let selections = lists.filter_map(|ech| ech.selection());
    selections.flat_map(|selection| selection.chosen.iter().chain(&selection.others))
}

/// The configs that a list and another have in common.
pub(crate) fn share_a_config(one: &EchConfigList, other: &EchConfigList) -> bool {
    let has = |list: &EchConfigList, bytes: &[u8]| {
        list.configs()
            .iter()
            .any(|config| config.encoded() == bytes)
    };
    one.configs()
        .iter()
        .any(|config| has(other, config.encoded()))
}
