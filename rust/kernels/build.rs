//! Compiles `cuda/` where there is a CUDA compiler, and says so; without one the crate is built
//! without CUDA kernels.
//!
//! The compiler is looked for in `CUDA_HOME`, on `PATH`, and among the packages of the Python that
//! builds the wheel (`nvidia-cuda-nvcc` and its companions unpack to `nvidia/cu13`): `PYO3_PYTHON`,
//! then `VIRTUAL_ENV`, then `python3`. The result is one static library, linked with the static
//! CUDA runtime, which finds the driver at run time. Sources are compiled side by side, and only
//! those that have changed, by their own text or that of a header.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

/// Machine code for each generation, so that no supported device compiles at start.
const DEVICE_CODE: [&str; 6] = ["80", "86", "89", "90", "100", "120"];
/// Intermediate code of the lowest generation: the driver can compile it for any device that has no
/// machine code here, those between the generations above and those to come. The kernels use
/// nothing that came later.
const INTERMEDIATE_CODE: &str = "80";
/// Sources whose machine code for Hopper may use what only Hopper has (`wgmma`, TMA), by NVIDIA's
/// name for that: it runs on every device of compute capability 9.0, and on no other.
const FOR_HOPPER_ALONE: [&str; 2] = ["attention_bf16", "attention_f16"];
const SOURCES: [&str; 17] = [
    "attention_bf16",
    "attention_f16",
    "attention_bf16_e4m3",
    "attention_f16_e4m3",
    "linear_bf16",
    "linear_f16",
    "fp8_bf16",
    "fp8_f16",
    "grouped_bf16",
    "grouped_f16",
    "sample",
    "rope_and_store",
    "gated",
    "rms_norm",
    "rows",
    "primitives",
    "device",
];

fn main() {
    println!("cargo:rustc-check-cfg=cfg(cuda_kernels)");
    // Not `PATH`: it differs from shell to shell, and each change would compile everything again.
    for name in ["CUDA_HOME", "PYO3_PYTHON", "VIRTUAL_ENV"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let cuda = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("Cargo sets it")).join("../../cuda");
    println!("cargo:rerun-if-changed={}", cuda.display());
    let Some(toolkit) = Toolkit::find() else {
        println!("cargo:warning=no CUDA compiler found: building without CUDA kernels");
        return;
    };
    if !on_path("c++") && !on_path("g++") {
        println!(
            "cargo:warning=nvcc needs a C++ compiler and none is on PATH: building without CUDA kernels"
        );
        return;
    }
    // An isolated build's toolkit is gone afterwards, and with it the runtime that the next build
    // would link.
    println!("cargo:rerun-if-changed={}", toolkit.nvcc.display());
    let targets = toolkit.targets();
    let out = PathBuf::from(env::var("OUT_DIR").expect("Cargo sets it"));
    let objects = toolkit.compile_all(&cuda, &targets, &out);
    let library = out.join("libstreamcore_cuda.a");
    run(Command::new(&toolkit.nvcc).arg("--lib").args(&objects).arg("-o").arg(&library));
    toolkit.link(&out, &targets);
}

/// Where sources find their headers.
const HEADERS: [&str; 3] = ["include", "kernels", "launch"];

/// Returns a number for the command, the source, and the headers of `cuda/` that it includes,
/// themselves or through others.
fn fingerprint(cuda: &Path, source: &Path, command: &str) -> String {
    let (mut texts, mut waiting) = (BTreeMap::new(), vec![source.to_owned()]);
    while let Some(path) = waiting.pop() {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let included = text.lines().filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'));
        waiting.extend(
            included
                .flat_map(|name| HEADERS.map(|folder| cuda.join(folder).join(name)))
                .filter(|path| !texts.contains_key(path)),
        );
        texts.insert(path, text);
    }
    let mut hasher = DefaultHasher::new();
    (command, texts).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// A CUDA compiler and the folder it belongs to.
struct Toolkit {
    home: PathBuf,
    nvcc: PathBuf,
}

impl Toolkit {
    fn find() -> Option<Self> {
        // A home without a compiler, such as one that holds only the runtime, does not hide the
        // next one.
        let homes: [fn() -> Option<PathBuf>; 3] =
            [|| env::var_os("CUDA_HOME").map(PathBuf::from), home_on_path, home_in_python];
        homes.into_iter().filter_map(|home| home()).find_map(Self::at)
    }

    fn at(home: PathBuf) -> Option<Self> {
        let nvcc = home.join("bin/nvcc");
        nvcc.is_file().then_some(Self { home, nvcc })
    }

    /// Returns the wanted targets that this compiler knows.
    fn targets(&self) -> Vec<&'static str> {
        let known = run(Command::new(&self.nvcc).arg("--list-gpu-code"));
        DEVICE_CODE
            .into_iter()
            .filter(|target| known.lines().any(|line| line.trim() == format!("sm_{target}")))
            .collect()
    }

    fn version(&self) -> String {
        let text = run(Command::new(&self.nvcc).arg("--version"));
        let version = text.split_whitespace().find(|word| {
            word.starts_with('V') && word[1..].starts_with(|first: char| first.is_ascii_digit())
        });
        version.map_or_else(|| "unknown".to_owned(), |word| word[1..].to_owned())
    }

    /// Compiles every source, as many at a time as Cargo allows, the ones that take longest first.
    fn compile_all(&self, cuda: &Path, targets: &[&str], out: &Path) -> Vec<PathBuf> {
        let num_jobs = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(1);
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..SOURCES.len().min(num_jobs) {
                scope.spawn(|| {
                    while let Some(source) = SOURCES.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.compile(cuda, source, targets, out);
                    }
                });
            }
        });
        SOURCES.iter().map(|source| out.join(source).with_extension("o")).collect()
    }

    fn compile(&self, cuda: &Path, source: &str, targets: &[&str], out: &Path) {
        let path = cuda.join("launch").join(source).with_extension("cu");
        let object = out.join(source).with_extension("o");
        let mut command = Command::new(&self.nvcc);
        command.args(["-O3", "-std=c++17", "-lineinfo", "-Werror", "all-warnings", "-Xptxas", "-v"]);
        // No C++ runtime: the statics are nvcc's own kernel handles, which two threads may well set
        // to the same value.
        command.args(["-Xcompiler", "-fno-exceptions,-fno-rtti,-fno-threadsafe-statics"]);
        command.args(["-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wextra"]);
        for folder in HEADERS {
            command.arg("-I").arg(cuda.join(folder));
        }
        for target in targets {
            let alone = if *target == "90" && FOR_HOPPER_ALONE.contains(&source) { "a" } else { "" };
            command.arg(format!("-gencode=arch=compute_{target}{alone},code=sm_{target}{alone}"));
        }
        command.arg(format!("-gencode=arch=compute_{INTERMEDIATE_CODE},code=compute_{INTERMEDIATE_CODE}"));
        // A seventh of the size on a disk, and two thirds of it in the wheel.
        if run(Command::new(&self.nvcc).arg("--help")).contains("--compress-mode") {
            command.arg("--compress-mode=size");
        }
        command.arg("-c").arg(&path).arg("-o").arg(&object);
        let fingerprint = fingerprint(cuda, &path, &format!("{command:?} {}", self.version()));
        let noted = object.with_extension("inputs");
        if object.is_file() && fs::read_to_string(&noted).is_ok_and(|text| text == fingerprint) {
            return;
        }
        // Registers, shared memory and spills of each kernel: a test compares them with
        // `cuda/resources.txt`.
        let said = ran(&mut command).stderr;
        fs::write(object.with_extension("ptxas"), said).expect("the folder of the object can be written");
        fs::write(&noted, fingerprint).expect("the folder of the object can be written");
    }

    fn link(&self, out: &Path, targets: &[&str]) {
        let folders = ["lib64", "lib", "targets/x86_64-linux/lib", "lib/x86_64-linux-gnu"];
        let runtime = folders
            .iter()
            .map(|folder| self.home.join(folder))
            .find(|folder| folder.join("libcudart_static.a").is_file())
            .unwrap_or_else(|| panic!("no libcudart_static.a under {}", self.home.display()));
        println!("cargo:rustc-link-search=native={}", out.display());
        println!("cargo:rustc-link-search=native={}", runtime.display());
        println!("cargo:rustc-link-lib=static=streamcore_cuda");
        println!("cargo:rustc-link-lib=static=cudart_static");
        for library in ["rt", "pthread", "dl"] {
            println!("cargo:rustc-link-lib={library}");
        }
        println!("cargo:rustc-cfg=cuda_kernels");
        println!("cargo:rustc-env=STREAMCORE_CUDA_TOOLKIT={}", self.version());
        let names: Vec<String> = targets.iter().map(|target| format!("sm_{target}")).collect();
        println!("cargo:rustc-env=STREAMCORE_CUDA_TARGETS={}", names.join(" "));
    }
}

fn on_path(program: &str) -> bool {
    find_on_path(program).is_some()
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn home_on_path() -> Option<PathBuf> {
    let nvcc = find_on_path("nvcc")?.canonicalize().ok()?;
    Some(nvcc.parent()?.parent()?.to_owned())
}

fn home_in_python() -> Option<PathBuf> {
    let script = "import pathlib, sys\n\
        homes = (pathlib.Path(entry or '.') / 'nvidia' / 'cu13' for entry in sys.path)\n\
        print(next((home for home in homes if (home / 'bin' / 'nvcc').is_file()), ''))";
    let pythons = [
        env::var_os("PYO3_PYTHON").map(PathBuf::from),
        env::var_os("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin/python")),
        Some(PathBuf::from("python3")),
    ];
    pythons.into_iter().flatten().find_map(|python| {
        let output = Command::new(python).args(["-c", script]).output().ok()?;
        let home = String::from_utf8(output.stdout).ok()?;
        (!home.trim().is_empty()).then(|| PathBuf::from(home.trim()))
    })
}

/// Runs a command and returns what it printed.
fn run(command: &mut Command) -> String {
    String::from_utf8_lossy(&ran(command).stdout).into_owned()
}

/// Runs a command; a compiler that is there and fails must not go unnoticed.
fn ran(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
