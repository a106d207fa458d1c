//! Ways in which applications run: how one is stopped and started again. One file each below `platform/`.

pub mod scalar;
pub mod workload;
