//! VolumeSnapshotClasses that make the storage misbehave.

use serde_json::{Value, json};

use super::cluster;
use super::scene::Scene;

/// A class of `tests/cluster/faults` under a name of the scene's own.
pub struct FaultClass {
    pub name: String,
    object: Value,
}

impl FaultClass {
    /// `fault` is the file's name without its ending.
    pub fn new(scene: &Scene, fault: &str) -> Self {
        Self::with(scene, fault, None)
    }

    /// The same with another value of its parameter. Each value has a class of its own: the snapshot-controller may go by
    /// what a class was a moment ago.
    pub fn with(scene: &Scene, fault: &str, parameter: Option<(&str, &str)>) -> Self {
        let file = cluster::folder().join(format!("faults/{fault}.yaml"));
        let mut object = scene.kubectl.read(&file).remove(0);
        let value = parameter.map(|(_, value)| format!("-{value}")).unwrap_or_default();
        let name = format!("{}-{fault}{value}", scene.namespace());
        // The scene deletes by this label what it leaves beside its namespace.
        object["metadata"] = json!({"name": name, "labels": {"test": scene.namespace()}});
        if let Some((parameter, value)) = parameter {
            assert!(object["parameters"][parameter].is_string(), "{fault} has no parameter {parameter}");
            object["parameters"][parameter] = json!(value);
        }
        scene.kubectl.apply(std::slice::from_ref(&object));
        Self { name, object }
    }

    /// A class without a fault, which keeps what it cut when its objects are deleted.
    pub fn retaining(scene: &Scene) -> Self {
        let mut class = Self::new(scene, "always-error");
        class.object["deletionPolicy"] = json!("Retain");
        class.heal(scene);
        class
    }

    /// From now on the storage does what it is asked.
    pub fn heal(&self, scene: &Scene) {
        let mut object = self.object.clone();
        object["parameters"] = json!({});
        scene.kubectl.ok(&["delete", "volumesnapshotclass", &self.name]);
        scene.kubectl.apply(&[object]);
    }
}
