//! Our server as `vitte-cache serve` starts it.
use cache_coordinator::{Coordinator, Tier};
use cache_core::Policy;
use std::sync::Arc;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let get = |name: &str| args.iter().position(|a| a == name).map(|i| args[i + 1].clone());
    let dir = std::path::PathBuf::from(get("--dir").ok_or("dir")?);
    let memory: u64 = get("--memory").map_or(Ok(64), |m| m.trim_end_matches("MiB").parse())?;
    let options = cache_server::ServerOptions {
        listen: get("--listen").ok_or("listen")?.parse()?,
        spool_dir: Some(dir.join("spool")),
        ..Default::default()
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let fs = Arc::new(cache_fs::FsStore::open(&dir, cache_fs::Options::default())?);
        let mut builder = Coordinator::builder();
        if memory > 0 {
            let policy = Policy { max_bytes: Some(memory << 20), ..Policy::unlimited() };
            let tier = cache_memory::MemoryStore::new(cache_memory::Options { policy, ..Default::default() });
            builder = builder.tier(Tier::new(Arc::new(tier)));
        }
        let store: Arc<dyn cache_core::Store> = if args.iter().any(|a| a == "--bare") {
            fs
        } else {
            Arc::new(builder.tier(Tier::new(fs)).build()?)
        };
        let server = cache_server::Server::bind(options, store).await?;
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let _ = server
            .run_until(async move {
                term.recv().await;
            })
            .await;
        Ok(())
    })
}
