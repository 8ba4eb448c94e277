// Builds dist/ from src/ and the pinned packages: npm ci --ignore-scripts && npm run build.
// The result is committed, so that building the service needs no Node. With a
// folder as its argument it builds into that: make graphiql-check compares.
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const out = process.argv[2] ?? '.';
const sha256 = (content) => createHash('sha256').update(content).digest('hex');

const common = {
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  outdir: 'dist',
  target: 'es2022',
  legalComments: 'none', // LICENSES.txt has the whole texts
  define: { 'process.env.NODE_ENV': '"production"' },
};
const page = await build({
  ...common,
  entryPoints: { app: 'src/app.jsx' },
  format: 'esm',
  jsx: 'automatic',
  loader: { '.ttf': 'file', '.woff2': 'file' },
  assetNames: '[name]',
});
const workers = await build({
  ...common,
  entryPoints: {
    'editor.worker': 'node_modules/monaco-editor/esm/vs/editor/editor.worker.js',
    'json.worker': 'node_modules/monaco-editor/esm/vs/language/json/json.worker.js',
    'graphql.worker': 'node_modules/monaco-graphql/esm/graphql.worker.js',
  },
  format: 'iife',
});

// What was built from what. Of a compressed file it is the content that counts:
// another version of Node may compress otherwise.
const manifest = { inputs: {}, outputs: {} };
const sources = readdirSync('src').map((name) => `src/${name}`);
for (const name of ['build.mjs', 'package.json', 'package-lock.json', ...sources].sort()) {
  manifest.inputs[name] = sha256(readFileSync(name));
}

const dist = join(out, 'dist');
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
const files = [...page.outputFiles, ...workers.outputFiles].map(({ path, contents }) => ({ name: path.split('/').pop(), contents }));
for (const { name, contents } of files.sort((a, b) => (a.name < b.name ? -1 : 1))) {
  writeFileSync(join(dist, `${name}.gz`), gzipSync(contents, { level: 9 }));
  manifest.outputs[`dist/${name}.gz`] = sha256(contents);
}

const packages = new Set();
for (const { metafile } of [page, workers]) {
  for (const input of Object.keys(metafile.inputs)) {
    const found = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[0]);
  }
}
const notices = [...packages].sort().map((folder) => {
  const { name, version, license } = JSON.parse(readFileSync(`${folder}package.json`, 'utf8'));
  const texts = readdirSync(folder)
    .filter((f) => /^(licen[cs]e|thirdpartynotices)/i.test(f))
    .map((f) => readFileSync(folder + f, 'utf8').replaceAll('\r\n', '\n').trim());
  return `${[`${name} ${version} (${license})`, ...texts].join('\n\n')}\n`;
});
const licenses = notices.join(`\n${'-'.repeat(80)}\n\n`);
writeFileSync(join(out, 'LICENSES.txt'), licenses);
manifest.outputs['LICENSES.txt'] = sha256(licenses);
writeFileSync(join(out, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
