//! The remote store of Metro, as its configuration sets it up.

use tokio::process::Command;

use crate::support::{is_installed, npm, run, snippet, start, text, write};

const TOOL: &str = "metro-0.84.6";
/// Asks, stores and asks again, as Metro does for each module.
const SCRIPT: &str = "const [store] = require('./metro.config.js').cacheStores;
const key = Buffer.from('00ff10ab', 'hex');
const value = { output: [{ data: { code: 'x'.repeat(100000) } }], dependencies: [] };
(async () => {
  const before = await store.get(key);
  await store.set(key, value);
  const after = await store.get(key);
  const same = JSON.stringify(after) === JSON.stringify(value);
  console.log(JSON.stringify({ before, same }));
})();
";

#[tokio::test]
async fn metro_finds_what_it_stored() {
    let Some(metro) = npm(TOOL, "metro") else { return };
    if !is_installed("node").await {
        return;
    }
    let (server, secret) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let config = snippet("others#Metro", "metro.config.js", &server);
    write(dir.path(), &[("metro.config.js", &config), ("store.js", SCRIPT)]);
    let modules = metro.parent().and_then(|bin| bin.parent()).unwrap();
    let mut node = Command::new("node");
    node.current_dir(dir.path())
        .arg("store.js")
        .env("NODE_PATH", modules)
        .env("VITTE_TOKEN", secret.reveal())
        .env("HOME", dir.path());
    assert_eq!(text(&run(&mut node).await).trim(), "{\"before\":null,\"same\":true}");
}
