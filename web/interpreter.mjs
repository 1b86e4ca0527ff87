// What PyScript takes for its interpreter: Pyodide, told where our own copies are, so that it asks
// no other host. The page's Python, msgspec, and the compiled form of both and of PyScript's own, are
// in its file system before it starts. The build fills in the names.
//
// It starts as soon as this module is there, while the browser still reads PyScript, which is then
// given the one that is under way. The notes are drawn even before that.
import { loadPyodide as load, version } from "./$pyodide/pyodide.mjs";

const here = (path) => new URL(path, import.meta.url).href;
const output = { stdout: console.log, stderr: console.error };
const index = $index;
const bundle = fetch(here("./$bundle")).then((response) => response.arrayBuffer());
const sources = fetch(document.getElementById("python").href).then((response) => response.json());

const unpack = async (FS) => {
  const write = (path, data) => {
    FS.mkdirTree(path.slice(0, path.lastIndexOf("/")));
    FS.writeFile(path, data);
  };
  const data = await bundle;
  let start = 0;
  for (const [path, length] of index) {
    write(path, new Uint8Array(data, start, length));
    start += length;
  }
  Object.entries(await sources).forEach(([path, text]) => write("/home/pyodide/" + path, text));
};

// Without this Pyodide would run every coroutine on a stack that can be suspended (JSPI), which nothing
// here needs: its stack leaks a little with each one (pyodide#6249), and tabs have crashed of it (pyodide#6106).
delete WebAssembly.Suspending;

const starting = load({
  indexURL: here("./$pyodide/"),
  stdLibURL: here("./$stdlib"),
  packageBaseUrl: here("./"),
  lockFileContents: { info: $info, packages: {} },
  fsInit: unpack,
  stdout: (line) => output.stdout(line),
  stderr: (line) => output.stderr(line),
});

starting.then((python) => python.pyimport("chat.first")).catch(console.error);

const loadPyodide = ({ stdout, stderr }) => {
  Object.assign(output, { stdout, stderr });
  return starting;
};

export { loadPyodide, version };
