//! gantry-kubelet
