// Evaluates IAM requests: a JSON list on standard input, a list of results on standard output.
import { readFileSync } from 'node:fs'
import { runSimulation } from '@cloud-copilot/iam-simulate'

const evaluate = ({ principal, account, action, resource, context, policies, resourcePolicy }) =>
  runSimulation(
    {
      request: {
        principal,
        action,
        resource: { resource, accountId: account },
        contextVariables: context,
      },
      identityPolicies: policies.map((policy, number) => ({ name: `policy${number}`, policy })),
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      resourcePolicy,
    },
    {},
  )
const asked = JSON.parse(readFileSync(0, 'utf8'))
const answers = await Promise.all(asked.map(evaluate))
console.log(JSON.stringify(answers.map((one) => one.overallResult ?? JSON.stringify(one))))
