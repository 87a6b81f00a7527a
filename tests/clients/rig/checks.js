/** Collects checks. Each failed check becomes one line with its value and limit. */
export class Checks {
  passed = 0;
  failed = [];

  /** @param {string} what names of the pair and of the measured value */
  expect(holds, what, value, limit, why = '') {
    if (holds) {
      this.passed++;
      return;
    }
    const line = `FAILED ${what}: ${value}, limit ${limit}${why ? ` (${why})` : ''}`;
    this.failed.push(line);
  }

  /** Prints the lines that scripts/test reads, the measured values last. @returns {number} exit code */
  report(suite, figures) {
    for (const line of this.failed) console.log(line);
    console.log(`${this.passed} checks passed`);
    if (this.failed.length > 0) console.log(`test result: FAILED. 0 passed; ${this.failed.length} failed; see above`);
    console.log(JSON.stringify({ suite, passed: this.passed, failed: this.failed.length, ...figures }));
    return this.failed.length > 0 ? 1 : 0;
  }
}
