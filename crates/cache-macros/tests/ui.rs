//! What people read who use the attribute in a wrong way. After a change of a message, write the new ones with
//! `TRYBUILD=overwrite cargo test -p cache-macros --test ui` and read them.

#[test]
fn messages_say_what_to_do_and_point_at_the_place() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
