//! The pages of the manual that are made from the code.

use std::fs;
use std::path::Path;

use crate::support::Place;

#[test]
fn the_page_of_settings_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/configuration.md");
    let on_disk = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let generated = Place::new().run("config --markdown").ok().stdout;
    assert!(
        on_disk == generated,
        "the page is out of date; run: cargo run -- config --markdown > docs/reference/configuration.md"
    );
}
