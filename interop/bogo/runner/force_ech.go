package runner

import (
	"slices"
	"strconv"
	"strings"
)

// The three forms in which every TLS 1.3 server test runs: as it is, with a client that offers ECH which
// the server opens, and with one whose config the server does not know. But for ECH nothing may differ.
const (
	withoutECH      = "-WithoutECH"
	withECHAccepted = "-WithECHAccepted"
	withECHRejected = "-WithECHRejected"
)

// addForcedECHTests adds the three forms of each test that is registered and can offer ECH.
func addForcedECHTests() {
	known := generateServerECHConfig(&ECHConfig{ConfigID: 71})
	unknown := generateServerECHConfig(&ECHConfig{ConfigID: 72})
	shimFlags := []string{
		"-ech-server-config", base64FlagValue(known.ECHConfig.Raw),
		"-ech-server-key", base64FlagValue(known.Key),
		"-ech-is-retry-config", "1",
	}

	var forced []testCase
	for i := range testCases {
		if !canOfferECH(&testCases[i]) {
			continue
		}

		plain := copyTest(&testCases[i], withoutECH, shimFlags)
		forced = append(forced, plain)

		accepted := copyTest(&testCases[i], withECHAccepted, shimFlags)
		accepted.flags = append(accepted.flags, "-expect-ech-accept")
		forEachConfig(&accepted, func(config *Config) { config.ClientECHConfig = known.ECHConfig })
		accepted.expectations.echAccepted = true
		if accepted.resumeExpectations != nil {
			accepted.resumeExpectations.echAccepted = true
		}
		forced = append(forced, accepted)

		// The client encrypts early data for the inner hello, which a server that rejects ECH never
		// sees: there is nothing to compare.
		if sendsEarlyData(&testCases[i]) {
			continue
		}
		rejected := copyTest(&testCases[i], withECHRejected, shimFlags)
		forEachConfig(&rejected, func(config *Config) {
			config.ClientECHConfig = unknown.ECHConfig
			config.Bugs.ExpectECHRetryConfigs = CreateECHConfigList(known.ECHConfig.Raw)
			// Sessions are resumed by the outer hello, as the server answers that one.
			config.Bugs.OfferSessionInClientHelloOuter = true
		})
		// The server sees the name outside.
		for i, flag := range rejected.flags[:len(rejected.flags)-1] {
			if strings.HasSuffix(flag, "-expect-server-name") {
				rejected.flags[i+1] = known.ECHConfig.PublicName
			}
		}
		forced = append(forced, rejected)
	}
	testCases = append(testCases, forced...)
}

// copyTest copies what is changed of a test.
func copyTest(original *testCase, suffix string, shimFlags []string) testCase {
	test := *original
	test.name += suffix
	test.flags = slices.Concat(original.flags, shimFlags)
	if original.resumeConfig != nil {
		test.resumeConfig = new(*original.resumeConfig)
	}
	if original.resumeExpectations != nil {
		test.resumeExpectations = new(*original.resumeExpectations)
	}
	return test
}

func forEachConfig(test *testCase, change func(*Config)) {
	change(&test.config)
	if test.resumeConfig != nil {
		change(test.resumeConfig)
	}
}

// canOfferECH says whether a test is one of a TLS 1.3 server, and not one of ECH itself.
func canOfferECH(test *testCase) bool {
	if test.protocol != tls || test.testType != serverTest {
		return false
	}
	possible := speaksTLS13(&test.expectations) && !limitsShimBelowTLS13(test.flags)
	if test.resumeExpectations != nil {
		possible = possible && speaksTLS13(test.resumeExpectations)
	}
	forEachConfig(test, func(config *Config) {
		possible = possible && config.maxVersion() >= VersionTLS13 &&
			config.ClientECHConfig == nil && !config.Bugs.AlwaysSendECHInner
	})
	return possible
}

func speaksTLS13(expectations *connectionExpectations) bool {
	return expectations.version == 0 || expectations.version == VersionTLS13
}

func limitsShimBelowTLS13(flags []string) bool {
	for i, flag := range flags {
		if strings.HasSuffix(flag, "-no-tls13") {
			return true
		}
		if strings.HasSuffix(flag, "-max-version") && i+1 < len(flags) {
			if version, err := strconv.Atoi(flags[i+1]); err == nil && version < VersionTLS13 {
				return true
			}
		}
	}
	return false
}

func sendsEarlyData(test *testCase) bool {
	sends := test.earlyData
	forEachConfig(test, func(config *Config) { sends = sends || config.Bugs.SendEarlyData != nil })
	return sends
}
