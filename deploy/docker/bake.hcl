// All images with one command, from the root of the repository: make images
//   REGISTRY=registry.example/tumorctl PUSH=1 make images
variable "REGISTRY" { default = "tumorctl" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "unknown" }
// One release for both: an engine fits the TensorRT version that it was built with.
variable "NVIDIA_RELEASE" { default = "26.07" }

group "default" {
  targets = ["server", "engine-builder", "client"]
}

target "common" {
  context = "."
  args = {
    VERSION  = VERSION
    REVISION = REVISION
  }
}

target "server" {
  inherits   = ["common"]
  dockerfile = "deploy/docker/server.Dockerfile"
  tags       = ["${REGISTRY}/server:${VERSION}"]
  args       = { TRITON_IMAGE = "nvcr.io/nvidia/tritonserver:${NVIDIA_RELEASE}-py3" }
}

target "engine-builder" {
  inherits   = ["common"]
  dockerfile = "deploy/docker/engine-builder.Dockerfile"
  tags       = ["${REGISTRY}/engine-builder:${VERSION}"]
  args       = { TENSORRT_IMAGE = "nvcr.io/nvidia/tensorrt:${NVIDIA_RELEASE}-py3" }
}

target "client" {
  inherits   = ["common"]
  dockerfile = "deploy/docker/client.Dockerfile"
  tags       = ["${REGISTRY}/client:${VERSION}"]
}
