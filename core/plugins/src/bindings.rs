//! What wasmtime makes of the contracts: one set of bindings a hook, so that each can be probed for
//! by name, and the host's interfaces once for pure and once for effectful calls.
#![allow(missing_docs, clippy::all)]

/// Interfaces that effectful guests may import.
pub mod host {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-host; world host {
            import spinor:host/types@0.1.0;
            import spinor:host/log@0.1.0;
            import spinor:host/clock@0.1.0;
            import spinor:host/random@0.1.0;
            import spinor:host/http@0.1.0;
            import spinor:host/secret@0.1.0;
            import spinor:host/command@0.1.0;
            import spinor:host/process@0.1.0;
            import spinor:host/ssh@0.1.0;
            import spinor:host/directory@0.1.0;
        }",
        path: ["../../wit/host"],
        world: "spinor:core-host/host",
        imports: { default: async | trappable },
        additional_derives: [serde::Serialize, serde::Deserialize],
    });
}

/// Interfaces that pure guests may import.
pub mod pure_host {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-pure; world pure { import spinor:host/log@0.1.0; }",
        path: ["../../wit/host"],
        world: "spinor:core-pure/pure",
    });
}

/// Every plugin's name card and settings.
pub mod base {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-base; world base {
            export spinor:host/plugin@0.1.0;
            export spinor:host/settings@0.1.0;
        }",
        path: ["../../wit/host"],
        world: "spinor:core-base/base",
        exports: { default: async },
        with: { "spinor:host/types@0.1.0": crate::bindings::host::spinor::host::types },
    });
}

/// Hook `spinor:matching/rule`.
pub mod rule {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-rule; world rule { export spinor:matching/rule@0.1.0; }",
        path: ["../../wit/host", "../../wit/matching"],
        world: "spinor:core-rule/rule",
        with: { "spinor:host/types@0.1.0": crate::bindings::host::spinor::host::types },
    });
}

/// Hook `spinor:matching/supply`.
pub mod supply {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-supply; world supply { export spinor:matching/supply@0.1.0; }",
        path: ["../../wit/host", "../../wit/matching"],
        world: "spinor:core-supply/supply",
        with: {
            "spinor:host/types@0.1.0": crate::bindings::host::spinor::host::types,
            "spinor:matching/types@0.1.0": crate::bindings::rule::spinor::matching::types,
        },
    });
}

/// Hooks of `spinor:handling`.
pub mod handler {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-handler; world handler {
            export spinor:handling/admission@0.1.0;
            export spinor:handling/planning@0.1.0;
            export spinor:handling/conclusion@0.1.0;
        }",
        path: ["../../wit/host", "../../wit/handling"],
        world: "spinor:core-handler/handler",
        with: { "spinor:host/types@0.1.0": crate::bindings::host::spinor::host::types },
    });
}

/// Hook `spinor:computing/backend`.
pub mod backend {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-backend; world backend {
            export spinor:computing/backend@0.1.0;
        }",
        path: ["../../wit/host", "../../wit/computing"],
        world: "spinor:core-backend/backend",
        exports: { default: async },
        with: { "spinor:host/types@0.1.0": crate::bindings::host::spinor::host::types },
    });
}

/// Hook `spinor:spool/files`, which not every backend has.
pub mod spool {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-spool; world spool { export spinor:spool/files@0.1.0; }",
        path: ["../../wit/host", "../../wit/spool"],
        world: "spinor:core-spool/spool",
        exports: { default: async },
        with: { "spinor:host/types@0.1.0": crate::bindings::host::spinor::host::types },
    });
}

/// Hook `spinor:accounting/sink`.
pub mod sink {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-sink; world sink { export spinor:accounting/sink@0.1.0; }",
        path: ["../../wit/host", "../../wit/accounting"],
        world: "spinor:core-sink/sink",
        exports: { default: async },
        with: { "spinor:host/types@0.1.0": crate::bindings::host::spinor::host::types },
    });
}
