//! Certificates, also new ones, as curl sees them.

use std::path::Path;
use std::process::Command;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::support::Place;

/// Writes a new certificate for `localhost` and its key, the key first.
fn certificate(place: &Place) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    place.write("key.pem", signing_key.serialize_pem());
    place.write("cert.pem", cert.pem());
}

/// Returns whether curl gets an answer from the server and trusts it.
fn trusted(port: u16, authority: &Path) -> bool {
    let url = format!("https://localhost:{port}/livez");
    let status =
        Command::new("curl").args(["-sf", "-o", "/dev/null", "--cacert"]).arg(authority).arg(url).status();
    status.expect("curl is installed; `cargo xtask setup` does it").success()
}

#[test]
fn a_new_certificate_is_taken_over() {
    let place = Place::new();
    certificate(&place);
    let (cert, key) = (place.path("cert.pem"), place.path("key.pem"));
    let mut server = place.serve(&format!("--tls-cert {} --tls-key {}", cert.display(), key.display()));
    let port = server.address().port();
    let old = place.path("old.pem");
    std::fs::copy(&cert, &old).unwrap();
    assert!(trusted(port, &old));
    certificate(&place);
    server.wait_for("\"message\":\"reloaded\"");
    assert!(trusted(port, &cert) && !trusted(port, &old));
}
