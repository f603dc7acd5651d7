//! docs/findings.md is what the table says.

#[test]
fn the_page_of_findings_is_made_from_the_table() {
    let page = include_str!("../../../docs/findings.md");
    let made = echkit_check::findings_page();
    assert!(
        page == made,
        "write it anew: ech explain --markdown > docs/findings.md"
    );
}
