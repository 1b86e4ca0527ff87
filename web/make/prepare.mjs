// The part of the preparation that needs node: compiling Python with Pyodide, and brotli.
//
//   node prepare.mjs python JOB.json    {pyodide, pyscript, script, own, wheels, roots, info, output: {library, bundle, listing}}
//   node prepare.mjs compress FILE…     writes FILE.br and FILE.gz where they are worth it
import { readFile, rename, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";

const HOME = "/home/pyodide";
const ZIP = "/library.zip"; // in Pyodide's own file system
const WORTH = 0.95; // a sibling that saves less than this is not written

// What is written into HOME when the page starts, by PyScript and by interpreter.mjs: path -> text.
const flatten = (tree, base) =>
  Object.entries(tree).flatMap(([name, value]) =>
    typeof value === "string" ? [[`${base}/${name}`, value]] : flatten(value, `${base}/${name}`),
  );

const put = (FS, files) => {
  for (const [path, data] of files) {
    FS.mkdirTree(path.slice(0, path.lastIndexOf("/")));
    FS.writeFile(path, data);
  }
};

async function python(path) {
  const job = JSON.parse(await readFile(path, "utf8"));
  const script = await readFile(job.script, "utf8");
  const { loadPyodide } = await import(pathToFileURL(job.pyodide));
  const { default: tree } = await import(pathToFileURL(job.pyscript));
  const start = async (options) => {
    const env = { HOME, PYTHONHASHSEED: "0" };
    const interpreter = await loadPyodide({ env, lockFileContents: { info: job.info, packages: {} }, ...options });
    interpreter.runPython(script);
    const call = (name, ...args) =>
      interpreter.globals.get(name)(...args.map((each) => interpreter.toPy(each))).toJs();
    return { FS: interpreter.FS, call };
  };

  const packer = await start();
  const wheels = await Promise.all(job.wheels.map((wheel) => readFile(wheel)));
  const sources = Object.fromEntries([tree, job.own].flatMap((each) => flatten(each, HOME)));
  const files = packer.call("pack", wheels.map((each) => new Uint8Array(each)), sources);
  const fsInit = async (FS) => put(FS, files);

  const maker = await start({ fsInit });
  const found = maker.call("shrink", ZIP, job.roots);
  await writeFile(job.output.library, maker.FS.readFile(ZIP));
  await writeFile(job.output.bundle, Buffer.concat(files.map(([, data]) => data)));
  await writeFile(job.output.listing, JSON.stringify(files.map(([name, data]) => [name, data.length])));

  // Whatever is missing should show here, not in a browser.
  const trial = await start({ fsInit, stdLibURL: job.output.library });
  const there = trial.call("load", job.roots);
  const lost = found.filter((name) => !there.includes(name));
  if (lost.length) throw new Error(`the slim standard library fails to import ${lost}`);
}

const encodings = {
  br: (data) =>
    promisify(brotliCompress)(data, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
        [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
        [constants.BROTLI_PARAM_SIZE_HINT]: data.length,
      },
    }),
  gz: (data) => promisify(gzip)(data, { level: 9 }),
};

async function compress(path) {
  const data = await readFile(path);
  for (const [suffix, encode] of Object.entries(encodings)) {
    const encoded = await encode(data);
    if (encoded.length >= WORTH * data.length) continue;
    await writeFile(`${path}.new`, encoded);
    await rename(`${path}.new`, `${path}.${suffix}`);
  }
}

const [command, ...paths] = process.argv.slice(2);
await Promise.all(paths.map({ python, compress }[command]));
