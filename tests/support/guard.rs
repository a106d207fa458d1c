//! The plugin as an image, for guard pods.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::cluster;
use super::plugin::BINARY;
use super::process::Running;
use super::wait::seconds;

/// The image of this very binary, in the cluster.
pub fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let _ = cluster::kubeconfig();
        let tag = format!("plugin-under-test:{}", std::process::id());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/plugin-image");
        // A debug build is large, and a busy machine packs it for more than a minute.
        Running::start(Command::new(script).args([BINARY, &tag])).end(seconds(300)).done();
        format!("localhost/{tag}")
    })
}
