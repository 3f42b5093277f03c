//! A containerd shim for Wasm: the library that runwasi's shims are made of, with wasmtime.
//!
//! Which blob of an image is the program, and what of the image says how it is started, is the library's business and
//! is what the tests are about. Here is only what it leaves to a shim: to run the bytes. Core modules have WASI preview
//! 1, components `wasi:cli/run` of 0.2; both see the container's root and no network.

use anyhow::{Result, bail};
use containerd_shim_wasm::sandbox::Sandbox;
use containerd_shim_wasm::sandbox::context::RuntimeContext;
use containerd_shim_wasm::shim::{Cli, Shim, Version, version};
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Store, component};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::{self, bindings::Command};
use wasmtime_wasi::{DirPerms, FilePerms, I32Exit, WasiCtxBuilder};

/// What stands in the first eight bytes of a component, where a core module has its version 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

struct Wasmtime;

impl Shim for Wasmtime {
    type Sandbox = Program;

    fn name() -> &'static str {
        "wasmtime"
    }

    fn version() -> Version {
        version!()
    }
}

#[derive(Clone, Default)]
struct Program;

impl Sandbox for Program {
    async fn run_wasi(&self, ctx: &impl RuntimeContext) -> Result<i32> {
        let entrypoint = ctx.entrypoint();
        let bytes = entrypoint.source.as_bytes()?;
        let engine = Engine::default();
        let store = Store::new(&engine, wasi(ctx)?);
        let ended = if bytes.starts_with(COMPONENT) {
            component(&engine, store, &bytes).await
        } else {
            module(&engine, store, &bytes, &entrypoint.func).await
        };
        match ended {
            Ok(status) => Ok(status),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => Ok(exit.0),
                None => bail!("{error:?}"),
            },
        }
    }
}

/// The container's arguments, environment and streams, and its root as `/`.
fn wasi(ctx: &impl RuntimeContext) -> Result<WasiP1Ctx> {
    let mut builder = WasiCtxBuilder::new();
    builder.args(ctx.args()).inherit_stdio();
    for variable in ctx.envs() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        builder.env(name, value);
    }
    builder.preopened_dir("/", "/", DirPerms::all(), FilePerms::all())?;
    Ok(builder.build_p1())
}

async fn module(engine: &Engine, mut store: Store<WasiP1Ctx>, bytes: &[u8], func: &str) -> wasmtime::Result<i32> {
    let mut linker = wasmtime::Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |wasi: &mut WasiP1Ctx| wasi)?;
    let instance = linker.instantiate_async(&mut store, &Module::new(engine, bytes)?).await?;
    let start = instance.get_typed_func::<(), ()>(&mut store, func)?;
    start.call_async(&mut store, ()).await?;
    Ok(0)
}

async fn component(engine: &Engine, mut store: Store<WasiP1Ctx>, bytes: &[u8]) -> wasmtime::Result<i32> {
    let mut linker = component::Linker::new(engine);
    p2::add_to_linker_async(&mut linker)?;
    let command = Command::instantiate_async(&mut store, &Component::new(engine, bytes)?, &linker).await?;
    let ended = command.wasi_cli_run().call_run(&mut store).await?;
    Ok(if ended.is_ok() { 0 } else { 1 })
}

fn main() {
    Wasmtime::run(None);
}
