// What PyScript takes for its interpreter: Pyodide, told where our own copies are, so that it asks
// no other host. msgspec, and the compiled form of PyScript's own Python, are in its file system
// before it starts. The build fills in the names.
//
// It starts as soon as this module is there, while the browser still reads PyScript, which is then
// given the one that is under way.
import { loadPyodide as load, version } from "./$pyodide/pyodide.mjs";

const here = (path) => new URL(path, import.meta.url).href;
const output = { stdout: console.log, stderr: console.error };
const index = $index;
const bundle = fetch(here("./$bundle")).then((response) => response.arrayBuffer());

const unpack = async (FS) => {
  const data = await bundle;
  let start = 0;
  for (const [path, length] of index) {
    FS.mkdirTree(path.slice(0, path.lastIndexOf("/")));
    FS.writeFile(path, new Uint8Array(data, start, length));
    start += length;
  }
};

const starting = load({
  indexURL: here("./$pyodide/"),
  stdLibURL: here("./$stdlib"),
  packageBaseUrl: here("./"),
  lockFileContents: { info: $info, packages: {} },
  fsInit: unpack,
  stdout: (line) => output.stdout(line),
  stderr: (line) => output.stderr(line),
});

const loadPyodide = ({ stdout, stderr }) => {
  Object.assign(output, { stdout, stderr });
  return starting;
};

export { loadPyodide, version };
