// Prints the score of Lighthouse's accessibility audit for each page, with the audits that failed. Its input is
// {port, urls}: the port of a running browser, and the pages.
import lighthouse from 'lighthouse'

let input = ''
for await (const chunk of process.stdin) input += chunk
const {port, urls} = JSON.parse(input)
for (const url of urls) {
  const {lhr} = await lighthouse(url, {
    port, onlyCategories: ['accessibility'], logLevel: 'error',
    disableStorageReset: true, // keeps the sign-in
    ignoreStatusCode: true, disableFullPageScreenshot: true, throttlingMethod: 'provided',
    pauseAfterFcpMs: 0, pauseAfterLoadMs: 0, networkQuietThresholdMs: 0, cpuQuietThresholdMs: 0,
  })
  const failed = lhr.categories.accessibility.auditRefs.map(ref => lhr.audits[ref.id])
    .filter(audit => audit.score !== null && audit.score < 1)
    .map(audit => `${audit.id}: ${audit.title} ${(audit.details?.items ?? []).map(item => item.node?.snippet).join(' ')}`)
  console.log(JSON.stringify({
    url: lhr.finalDisplayedUrl, score: lhr.categories.accessibility.score,
    failed: lhr.runtimeError ? [lhr.runtimeError.message] : failed,
  }))
}
