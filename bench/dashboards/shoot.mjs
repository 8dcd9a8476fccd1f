// node shoot.mjs NODE_MODULES_PARENT CHROMIUM PROFILE_FOLDER HTML PNG: prints what was drawn as JSON.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, chromium, profile, html, png] = process.argv.slice(2);
const puppeteer = createRequire(join(modules, 'package.json'))('puppeteer-core');
const browser = await puppeteer.launch({
  executablePath: chromium, headless: true, userDataDir: profile,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--force-device-scale-factor=1'],
});
try {
  const page = await browser.newPage();
  const said = [];
  page.on('pageerror', error => said.push(String(error)));
  page.on('console', message => { if (message.type() === 'error') { said.push(message.text()); } });
  await page.setViewport({ width: 1440, height: 900 });
  await page.goto(pathToFileURL(html).href);
  await page.waitForFunction('window.drawn', { timeout: 60000 }).catch(error => said.push(String(error)));
  const drawn = await page.evaluate('window.drawn ?? {}');
  await page.setViewport({ width: 1440, height: Math.ceil(drawn.height ?? 900) });
  await page.screenshot({ path: png });
  console.log(JSON.stringify({ ...drawn, said }));
} finally {
  await browser.close();
}
